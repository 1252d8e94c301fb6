"""What a feature extractor is, the decoding of audio, and the table that models take features from."""
