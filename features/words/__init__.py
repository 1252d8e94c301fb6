"""Words as features: their times, their vectors in files, and vectors learned from text or sound."""
