"""A project as one object: the Python API, and what the commands share of it."""
