"""A model that is a package; its main part is `model.py`, further parts stand beside it."""
