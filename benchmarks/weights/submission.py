"""Predictions in the form in which a corpus's own label file states labels: for test sets whose labels are hidden.

MSP-Podcast keeps the labels of Test3 back. The file has the columns of `labels_consensus.csv` that were predicted, in
its order: FileName, EmoClass, EmoAct, EmoVal, EmoDom. They are filled by name, never by position: models predict in
orders of their own.
"""

from __future__ import annotations

import pandas as pd

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.schema.labels import VOCABULARIES

ATTRIBUTES = {"msp-podcast": {"EmoAct": "arousal", "EmoVal": "valence", "EmoDom": "dominance"}}


def submission(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The table of a submission file.

    Parameters
    ----------
    table : as `benchmarks.weights.predict` makes it: file, attributes, or the column of a classification task and
    p_<class> ...

    Raises
    ------
    SerbenchError
        For a dataset without hidden labels, predictions of frames, or a class that the corpus has no code for.
    """
    if dataset not in ATTRIBUTES:
        raise unknown("dataset with hidden labels", dataset, ATTRIBUTES)
    if "time" in table:
        raise SerbenchError(f"a submission for {dataset} has one row per utterance, these are predictions of frames.")
    attributes = ATTRIBUTES[dataset]
    columns = pd.DataFrame({"FileName": table["file"].str.rsplit("/", n=1).str[-1]})
    others = {"file", *attributes.values()}
    classes = [str(c) for c in table if c not in others and not str(c).startswith("p_")]
    if len(classes) > 1:
        raise SerbenchError(f"these predict several sets of classes: {', '.join(classes)}. Expected one.")
    if classes:
        codes = {emotion: code for code, emotion in VOCABULARIES[dataset].items() if emotion}
        strange = sorted(set(table[classes[0]]) - set(codes))
        if strange:
            raise unknown(f"class of {dataset}", strange[0], codes)
        columns["EmoClass"] = table[classes[0]].map(codes)
    for column, name in attributes.items():
        if name in table:
            columns[column] = table[name]
    return columns
