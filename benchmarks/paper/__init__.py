"""A paper's artefact from a plan: the grid is run, then tables, figures, methods in words, references, commands."""
