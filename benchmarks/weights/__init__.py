"""Trained weights as they are: tasks and history, predictions on any audio, submissions."""
