"""Predictions in the form in which a corpus's own label file states labels: for test sets whose labels are hidden.

A dataset that is a room may have a part `hidden_labels.py` that names the columns of the file: FILE_COLUMN,
CLASS_COLUMN, ATTRIBUTE_COLUMNS (column -> attribute) and CODES (emotion -> the corpus's own code). Those that were
predicted are filled by name, never by position: models predict in orders of their own.
"""

from __future__ import annotations

import pandas as pd

from ...datasets import registry
from ...datasets.core.errors import SerbenchError, unknown


def submission(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The table of a submission file.

    Parameters
    ----------
    table : as `weights/predict.py` makes it: file, attributes, or the column of a classification task and p_<class> ...

    Raises
    ------
    SerbenchError
        For a dataset without hidden labels, predictions of frames, or a class that the corpus has no code for.
    """
    form = registry.part(dataset, "hidden_labels")
    if "time" in table:
        raise SerbenchError(f"a submission for {dataset} has one row per utterance, these are predictions of frames.")
    filled = pd.DataFrame({form.FILE_COLUMN: table["file"].str.rsplit("/", n=1).str[-1]})
    others = {"file", *form.ATTRIBUTE_COLUMNS.values()}
    classes = [str(c) for c in table if c not in others and not str(c).startswith("p_")]
    if len(classes) > 1:
        raise SerbenchError(f"these predict several sets of classes: {', '.join(classes)}. Expected one.")
    if classes:
        strange = sorted(set(table[classes[0]]) - set(form.CODES))
        if strange:
            raise unknown(f"class of {dataset}", strange[0], form.CODES)
        filled[form.CLASS_COLUMN] = table[classes[0]].map(form.CODES)
    for column, name in form.ATTRIBUTE_COLUMNS.items():
        if name in table:
            filled[column] = table[name]
    return filled
