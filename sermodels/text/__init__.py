"""The text model: a pre-trained encoder of text with a head, and where its encoder and texts come from."""
