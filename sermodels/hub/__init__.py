"""Trained models that travel: a folder in Hugging Face's format, where it comes from and goes to, and loading it."""
