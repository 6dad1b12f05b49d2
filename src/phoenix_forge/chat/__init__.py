"""One conversation → text → token ids and a loss mask. No torch."""
