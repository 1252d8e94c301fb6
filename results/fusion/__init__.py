"""Runs that are made of other runs' stored predictions: late fusion and ensembles. Nothing is trained."""
