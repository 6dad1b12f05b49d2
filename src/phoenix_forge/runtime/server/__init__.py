"""`forge serve`: a front that lets in what may come in, and llama.cpp in a supervised process behind it."""
