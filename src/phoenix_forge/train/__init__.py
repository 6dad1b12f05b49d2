"""Base + dataset → adapter. Read loop.py first: the others are what it calls."""
