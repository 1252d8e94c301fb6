"""MSP-Podcast, releases 1.6 to 2.0: spontaneous emotional speech cut from podcasts, rated by crowds.

Lotfian, Busso, "Building naturalistic emotionally balanced speech corpus by retrieving emotional speech from existing
podcast recordings", IEEE Transactions on Affective Computing 10(4), 2019, doi 10.1109/TAFFC.2017.2736999; release 2.0:
Busso et al., arXiv 2509.09791. Licence: academic licence of the University of Texas at Dallas, per institution; no
redistribution.

What is read, in any case of letters, in `root` or one folder below it:

- `Labels/labels_consensus.csv` (spelt `labels_concensus` up to 1.9; else the `.json` of that name) makes the table.
  It has a row per labelled segment: class, mean activation, valence, dominance (1 to 7), speaker, gender, partition.
- `Labels/labels_detailed.csv` in its three shapes (else `.json`, else `labels.txt`): single raters. The table's
  `soft_<emotion>` are the shares of their primary words, `raters` their number; `ratings` gives all of them.
- `Partitions.txt` adds the rows of Test3, whose labels are hidden: partition "test3", for a submission file.
- `Transcripts/*.txt`; `ForceAligned/*.TextGrid` when word times are asked for. `Previous_releases_information` holds
  old label files and removed sound files and is never looked into. `Speaker_ids.txt` is not needed.
- Sound is never opened; folders are listed to count what is missing.

Decisions:

- The release decides labels and partitions, so it must be known: from the line "Release N" of `readme.txt`, else from
  the folder's name, else `--release`.
- `official` tests on Test1 (in 1.6: on Test), `official-test2` on Test2; both train on Train and select on
  Development (Validation up to 1.9). The test sets share speakers, so no split trains on one.
- Class X (no agreement) and O (other) are in no task of classes; both stay for the attributes.
- Sentences that people say everywhere recur in a quarter of a million segments: `shared` names text.
- There is no dialogue: segments are cut out, other speakers removed, and neighbours may be minutes apart. The column
  `recording` says which podcast a segment is from; context columns are empty.
- The unlabelled pool are the wav files in a folder `Unlabelled` (or `Unlabeled...`; it may be a link) in the root, with
  sub-folders. Files in `Audios` that no label file names are only counted: they may be withdrawn or hidden segments.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from ..reading.locate import find, find_root, missing, need_root
from ..schema.corpus import OFFICIAL, Corpus, Fold, make_table
from ..schema.labels import canonical, canonical_words, emotion_task, soft_labels
from ..schema.ratings import make_ratings
from ..schema.task import attribute_tasks
from . import folders, labels as files

CITATION = (
    "R. Lotfian and C. Busso, 'Building naturalistic emotionally balanced speech corpus by retrieving emotional speech "
    "from existing podcast recordings', IEEE Transactions on Affective Computing 10(4):471-483, 2019, "
    "doi 10.1109/TAFFC.2017.2736999"
)
CITES = ("lotfian2019podcast",)
SCALE = (1.0, 7.0)
SCALES = dict.fromkeys(("arousal", "valence", "dominance"), SCALE)
TASKS = (
    emotion_task("emotion-8", doc="the eight classes of the corpus, without other and no agreement"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness, neutral and sadness alone"),
    *attribute_tasks(("arousal", "valence", "dominance"), SCALES),
)
TASK_NAMES = ("emotion", "emotion-4", "attributes", "arousal", "valence", "dominance")
SOFT = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "other", "sadness", "surprise")
EXPECTED: dict[str, dict[str, int]] = {
    "1.6": {"utterances": 50362, "partition=train": 34280, "partition=dev": 5958, "partition=test": 10124},
    "1.7": {
        "utterances": 62140,
        "partition=train": 38179,
        "partition=dev": 7538,
        "partition=test1": 12902,
        "partition=test2": 3521,
    },
    "1.8": {
        "utterances": 73042,
        "partition=train": 44879,
        "partition=dev": 7800,
        "partition=test1": 15326,
        "partition=test2": 5037,
        "raw_emotion=N": 26009,
        "raw_emotion=H": 14285,
        "raw_emotion=X": 14199,
        "raw_emotion=U": 4084,
        "raw_emotion=C": 3644,
        "raw_emotion=A": 3218,
        "raw_emotion=S": 2649,
        "raw_emotion=D": 2593,
        "raw_emotion=F": 1544,
        "raw_emotion=O": 817,
        **{
            f"raw_emotion={code},partition={partition}": int(n)
            for partition, counts in (
                ("dev", "N2529 X1454 H1320 A621 C547 D441 U382 S302 F130 O74"),
                ("test1", "N4702 H3475 X2955 U1029 C736 D709 A622 S505 F367 O226"),
            )
            for code, n in ((text[0], text[1:]) for text in counts.split())
        },
    },
    "1.9": {},
    "1.10": {
        "utterances": 104267,
        "partition=train": 63076,
        "partition=dev": 10999,
        "partition=test1": 16903,
        "partition=test2": 13289,
    },
    "1.11": {
        "utterances": 151654,
        "partition=train": 84030,
        "partition=dev": 19815,
        "partition=test1": 30647,
        "partition=test2": 14815,
        "partition=test3": 2347,
        "speakers@partition=train": 1409,
        "speakers@partition=dev": 454,
        "speakers@partition=test1": 237,
        "speakers@partition=test2": 117,
    },
    "1.12": {"utterances": 207136, "partition=dev": 31961, "partition=test3": 3200},
    "2.0": {
        "utterances": 267905,
        "partition=train": 169190,
        "partition=dev": 34399,
        "partition=test1": 46294,
        "partition=test2": 14822,
        "partition=test3": 3200,
    },
}
"""Release -> counts that its own page or readme, its paper, public metadata of it or, for 1.6, Lin et al. (2021) state;
those of 1.10 and of 1.12's dev are those that public loaders expect, those of 1.7 and of 1.8's train and test2 are
unconfirmed. A difference is a warning and nothing more."""

_WHAT = "the folder that holds Labels and Audios (such as MSP-PODCAST-Publish-1.11)"
_OLD = frozenset({"previous_releases_information"})
_LABELS = ("labels", "label")


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load MSP-Podcast's table; no audio is needed or opened.

    Raises
    ------
    SerbenchError
        For a wrong root, an unknown or undecided release, or a label file that can't be read.
    """
    base, labels = _folders(root)
    release, disagreement = files.detect_release(base, release)
    table = files.read_consensus(_consensus(labels), release)
    table["emotion"] = canonical(table["raw_emotion"], "msp-podcast", "the consensus labels")
    details = _first(labels, files.DETAILED)
    table, rating_notes = _with_votes(table, files.read_details(details) if details else None)
    table, partition_notes = _with_test3(table, base, labels)
    table, audio_notes = folders.with_audio(table, base)
    table, text_notes = folders.with_text(table, base)
    table, pool_notes = folders.with_pool(table, base)
    table["language"] = "en"
    pool = int(table["partition"].eq("unlabelled").sum())
    expected = EXPECTED[release]
    noted = (*partition_notes, *rating_notes, *audio_notes, *text_notes, *pool_notes, *_facts(table))
    return Corpus(
        name="msp-podcast",
        release=release,
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits=_splits(table),
        scales=SCALES,
        licence="UT Dallas academic licence, per institution; no redistribution",
        citation=CITATION,
        homepage="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
        shared=("text",),
        expected={k: n + pool if k == "utterances" else n for k, n in expected.items()},
        notes=tuple(note for note in (disagreement, folders.packed(base), *noted) if note),
        further=("previous_releases_information/*",),
        word_source=folders.word_times(base),
        rater_source=partial(_answers, details) if details else None,
    )


def ratings(root: Path | None, release: str | None = None) -> pd.DataFrame:
    """Every single rating: id, rater, labels (primary word), secondary, arousal, valence, dominance (1 to 7)."""
    del release
    labels = _folders(root)[1]
    details = _first(labels, files.DETAILED)
    if details is None:
        raise missing("msp-podcast", labels, f"one of {', '.join(files.DETAILED)}", ("*label*",))
    return files.read_details(details)


def _answers(details: Path) -> pd.DataFrame:
    """Every rater's primary emotion and attributes."""
    table = files.read_details(details)
    return make_ratings(table.assign(emotion=canonical_words(table["labels"]))[["id", "rater", "emotion", *SCALES]])


def _folders(root: Path | None) -> tuple[Path, Path]:
    """The corpus's own folder, and the one that holds the label files."""
    given = need_root(root, "msp-podcast", _WHAT)
    base = find_root(
        given,
        lambda folder: _label_folder(folder) is not None,
        dataset="msp-podcast",
        looked_for="Labels/labels_consensus.csv (or labels_concensus.csv)",
        archives=("*msp*podcast*", "label*"),
        avoid=_OLD,
    )
    labels = _label_folder(base)
    assert labels is not None
    return base, labels


def _label_folder(folder: Path) -> Path | None:
    candidates = (find(folder, _LABELS), folder)
    return next((c for c in candidates if c is not None and _first(c, files.CONSENSUS)), None)


def _consensus(labels: Path) -> Path:
    path = _first(labels, files.CONSENSUS)
    if path is None:
        raise missing("msp-podcast", labels, " or ".join(files.CONSENSUS))
    return path


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return find(folder, names, "file")


def _with_votes(table: pd.DataFrame, details: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """Add `raters` and the soft labels."""
    soft = [f"soft_{emotion}" for emotion in SOFT]
    if details is None:
        empty = pd.DataFrame(float("nan"), index=table.index, columns=["raters", *soft])
        return table.join(empty), ["no detailed labels were found, so soft labels and single ratings are missing"]
    details = details.assign(emotion=canonical_words(details["labels"]))
    foreign = int((table.index.get_indexer(details["id"].cat.categories) < 0).sum())
    strange = details["labels"][details["emotion"].isna()].dropna()
    words = ", ".join(sorted(map(str, strange.unique()))[:8])
    notes = [
        f"{foreign} segments of the detailed labels are not in the consensus and are left out" if foreign else "",
        f"{len(strange)} raters' words count for no emotion: {words}" if len(strange) else "",
    ]
    counts = details["id"].value_counts().reindex(table.index).astype("float64").fillna(0)
    return table.assign(raters=counts).join(soft_labels(details, SOFT)), notes


def _with_test3(table: pd.DataFrame, base: Path, labels: Path) -> tuple[pd.DataFrame, list[str]]:
    """Add the rows that Partitions.txt alone knows to be Test3, and compare the rest with the labels' partitions."""
    path = next((p for folder in (base, labels) if (p := _first(folder, ("partitions.txt", "partition.txt")))), None)
    if path is None:
        return table, []
    listed = files.read_partitions(path)
    new = listed[table.index.get_indexer(listed.index) < 0]
    hidden = new[new.eq("test3").to_numpy(dtype=bool)]
    both = listed.reindex(table.index).dropna()
    moved = int((both != table.loc[both.index, "partition"]).sum())
    unrated = len(new) - len(hidden)
    notes = [
        f"{path.name} puts {moved} segments into other partitions than the labels, which stand" if moved else "",
        f"{unrated} segments of {path.name} have no labels and are left out" if unrated else "",
        f"the labels of the {len(hidden)} segments of test3 are hidden: they can be predicted, not scored"
        if len(hidden)
        else "",
    ]
    return pd.concat([table, hidden.to_frame("partition")]) if len(hidden) else table, notes


def _facts(table: pd.DataFrame) -> list[str]:
    """What is known to be awkward about the corpus, as far as this copy has it."""
    train = table["partition"].eq("train").to_numpy(dtype=bool)
    unnamed = int(table.loc[train, "speaker"].isna().sum())
    return [
        f"{unnamed} training segments have an unknown speaker, who may also be in another partition" if unnamed else "",
        "MSP-PODCAST_1023_0235 is 44.1 kHz stereo, all others 16 kHz mono"
        if "MSP-PODCAST_1023_0235" in table.index
        else "",
    ]


def _splits(table: pd.DataFrame) -> dict[str, tuple[Fold, ...]]:
    there = set(table["partition"].dropna().unique())
    roles = {"dev": {"partition": ("dev",)}, "train": {"partition": ("train",)}}
    if "test" in there or not {"test1", "test2"} & there:
        return {"official": (OFFICIAL,)}
    names = {"test1": "official", "test2": "official-test2"}
    return {name: (Fold(name, test={"partition": (p,)}, **roles),) for p, name in names.items() if p in there}
