"""How results are shown: numbers as people read them, and a table's cells on the screen, in files and on a page."""
