"""Scores by group of speakers or utterances: who is served worse, by how much, and whether that is chance."""
