"""Miniature copies of corpora in their real layouts, with synthetic speech, to try a corpus without its licence.

A module named for its corpus, `mocks/crema_d.py` for `crema-d`, has `write(folder, *, release, utterances, traps,
seed)`. Other distributions add modules of the same shape for their corpora: entry-point group `serbench.mocks`.
"""
