"""Where a finished model answers: llama.cpp in process, Ollama over its REST API, and the Modelfile between them."""
