"""Pre-trained speech encoders: checkpoints, families, loading, hidden states of signals of any length."""
