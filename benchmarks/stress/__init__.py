"""Stored runs on perturbed test audio: features made again, predictions of the saved weights, nothing trained."""
