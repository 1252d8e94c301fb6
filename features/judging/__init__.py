"""What vectors of words are good for: precisions across speakers and of meaning, and what they are compared with."""
