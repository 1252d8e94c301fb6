"""Functionals normalised by speaker: each column less the speaker's mean, over the speaker's standard deviation.

The moments are those of all utterances of the speaker that features are at hand of, test items included: no label is
used, but the audio of the test speakers is, which a score's signature has to say (`TRANSDUCTIVE`). As z-normalisation
by speaker it is common in the literature on functionals (Schuller et al. 2010, IEEE TAC 1(2),
doi:10.1109/T-AFFC.2010.8, section 2.2, among others).
"""

from __future__ import annotations

import numpy as np

from ...datasets.core.errors import SerbenchError
from .rows import Matrix, table_matrix, utterance_matrix
from .scaling import Scaler
from .sermodel import Data

TRANSDUCTIVE = "transductive: features z-normalised by speaker"


def speaker_matrix(data: Data) -> Matrix:
    """`utterance_matrix` normalised by speaker; values that are not finite are the speaker's mean.

    Raises
    ------
    SerbenchError
        Where the speaker of an utterance is unknown.
    """
    rows = utterance_matrix(data)
    own = data.items["speaker"]
    if own.isna().any():
        raise SerbenchError(
            f"model.normalise=speaker needs the speaker of every utterance; that of {own.index[own.isna()][0]!r} is "
            "unknown. Expected model.normalise=train, or a corpus that names its speakers."
        )
    table = data.features["input"]
    known = data.items if data.turns is None else data.turns
    spoken: dict[str, list[str]] = {}
    for item, speaker in known["speaker"].dropna().items():
        if str(item) in table:
            spoken.setdefault(str(speaker), []).append(str(item))
    for speaker in own.astype(str).unique():
        mine = np.flatnonzero(own.astype(str).eq(speaker).to_numpy())
        rows[mine] = Scaler.fit(table_matrix(table, spoken[speaker])).transform(rows[mine])
    return rows
