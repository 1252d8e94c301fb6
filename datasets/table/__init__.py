"""A corpus from one table that a user wrote: the reader, the file, and its cells."""
