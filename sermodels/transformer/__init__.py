"""A pre-trained speech encoder and a head, trained together."""
