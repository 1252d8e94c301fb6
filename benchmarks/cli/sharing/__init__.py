"""Commands that pass results on: pages to read, records to merge, submissions to check."""
