"""The command line: `app` with `run`, and one file for each group of commands."""
