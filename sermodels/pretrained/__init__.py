"""What models on a pre-trained encoder share: its choice, fine-tuning, corpora that it has seen."""
