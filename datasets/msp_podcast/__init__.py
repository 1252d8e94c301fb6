"""MSP-Podcast: the reader, its label files in every release, and the folders beside them."""
