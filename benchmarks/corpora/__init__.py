"""Work on corpora: the doctor, the protocol card, miniature copies, word times and vectors."""
