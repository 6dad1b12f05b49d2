"""A LoRA training step without autograd: every layer's forward and backward written out. Read model.py first."""
