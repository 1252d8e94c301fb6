"""Input that nobody should give: hostile files, mutated files of every kind that is read, wild command lines."""
