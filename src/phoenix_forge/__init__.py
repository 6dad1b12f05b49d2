"""Forge: a folder of documents becomes a language model that knows them and runs on your own machine."""

__version__ = "0.1.0"
