"""Training of neural language models from text."""
