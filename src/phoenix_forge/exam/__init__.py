"""Independent questions about the user's own corpus: written by a model that reads, checked, frozen before examples."""
