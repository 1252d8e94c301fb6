"""MELD: the reader, where its files lie, its speakers, and the sound of its clips."""
