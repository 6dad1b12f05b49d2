"""Local servers that speak the protocols of Ollama and the Hub, strictly enough to catch a client's mistakes."""
