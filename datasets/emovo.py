"""EMOVO: six Italian actors say 14 sentences in six emotions and neutrally, 588 recordings.

Costantini, Iaderola, Paoloni and Todisco, "EMOVO Corpus: an Italian Emotional Speech Database", LREC 2014,
https://aclanthology.org/L14-1478; described at http://voice.fub.it/activities/corpora/emovo/index.html, free to
download. The files state no licence that could be confirmed (nkululeko's list of corpora says CC BY-NC-SA 4.0).

What is read: names such as `f1/dis-f1-b1.wav`, in the root or in folders below it: emotion (dis disgust, gio joy, neu
neutral, pau fear, rab anger, sor surprise, tri sadness), speaker (f1 to f3 women, m1 to m3 men), sentence.

The grammar is confirmed on the 588 names of EmoBox's list; the sentences are those that the reader of
Strong-AI-Lab/emotion gives. The counts follow from the design: 6 x 14 x 7.

There is no official partition. The split `leave-one-speaker-out` has six folds. Every sentence occurs in every fold
and emotion.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .reading.acted import gather, one_release
from .reading.locate import relative
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import canonical, emotion_task

CITATION = (
    "G. Costantini, I. Iaderola, A. Paoloni and M. Todisco, 'EMOVO Corpus: an Italian Emotional Speech Database', "
    "LREC 2014, pp. 3501-3504, https://aclanthology.org/L14-1478"
)
CITES = ("costantini2014emovo",)
SENTENCES = {
    "b1": "Gli operai si alzano presto.",
    "b2": "I vigili sono muniti di pistola.",
    "b3": "La cascata fa molto rumore.",
    "l1": "L'autunno prossimo Tony partirà per la Spagna nella prima metà di ottobre.",
    "l2": "Ora prendo la felpa di là ed esco per fare una passeggiata.",
    "l3": "Un attimo dopo s'è incamminato ... ed è inciampato.",
    "l4": "Vorrei il numero telefonico del Signor Piatti.",
    "n1": "La casa forte vuole col pane.",
    "n2": "La forza trova il passo e l'aglio rosso.",
    "n3": "Il gatto sta scorrendo nella pera.",
    "n4": "Insalata pastasciutta coscia d'agnello limoncello.",
    "n5": "Uno quarantatré dieci mille cinquantasette venti.",
    "d1": "Sabato sera cosa farà?",
    "d2": "Porti con te quella cosa?",
}
EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
EXPECTED = {"utterances": 588, "speakers": 6, **{f"emotion={emotion}": 84 for emotion in EMOTIONS}}
TASKS = (
    emotion_task("emotion-7", doc="the seven acted emotions"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness, neutral, sadness"),
)
TASK_NAMES = ("emotion", "emotion-4")
_NAME = re.compile(rf"([a-z]{{3}})-([fm][1-3])-({'|'.join(SENTENCES)})", re.IGNORECASE)


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load EMOVO from its file names.

    Raises
    ------
    SerbenchError
        For a wrong root, an unknown emotion in a name, or two files of one name.
    """
    one_release("emovo", release)
    base, named = gather(
        root,
        parse_name,
        dataset="emovo",
        what="the folder that holds f1, f2, f3, m1, m2 and m3 of EMOVO",
        like="f1/dis-f1-b1.wav",
        archives=("*emovo*",),
    )
    rows = [
        {
            "id": item,
            "path": relative(base, path),
            "speaker": speaker,
            "gender": "female" if speaker[0] == "f" else "male",
            "language": "it",
            "text": SENTENCES[sentence],
            "raw_emotion": code,
            "sentence": sentence,
        }
        for item, (path, (code, speaker, sentence)) in named.files.items()
    ]
    table = pd.DataFrame(rows).set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "emovo", "the file names")
    return Corpus(
        name="emovo",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={"leave-one-speaker-out": rotation("speaker", sorted(set(table["speaker"])))},
        licence="free to download; no licence could be confirmed (others list CC BY-NC-SA 4.0)",
        citation=CITATION,
        homepage="http://voice.fub.it/activities/corpora/emovo/index.html",
        expected=EXPECTED,
        notes=(
            "the labels are in the file names: a file that is gone is not in the table",
            "14 sentences are said by everybody in every emotion",
            *named.notes("dis-f1-b1"),
        ),
    )


def parse_name(stem: str) -> tuple[str, tuple[str, str, str]] | None:
    """Id, and emotion code, speaker and sentence of a file name; None for a name of another form."""
    match = _NAME.fullmatch(stem.lower())
    return None if match is None else (stem.lower(), (match[1], match[2], match[3]))
