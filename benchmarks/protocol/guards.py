"""Leaks: whatever of a test item the model has met in training, so that the score would be too good.

Five things may not cross from train or dev to test:

- speakers, dialogues and sessions (`GUARDED`), by the columns of the corpus table; across corpora only where both are
  the same one (two releases, say), since a name means nothing elsewhere;
- audio: the same file, or a file with the same content under another name or in another corpus. Of two segments of one
  file at least half of the shorter one has to be shared. Files that are not on disk are passed over;
- transcripts, for models that use words only: a corpus of ten fixed sentences is no leak for a model that hears. Case
  and punctuation don't count. Texts of `WORDS` words and more must not cross at all; shorter ones ("Yeah.") recur in
  all natural speech, and are a leak where they are more than `SHARE` of the test items.

The unlabelled pool of a semi-supervised training has no labels to give away, but a model may learn test recordings by
heart from it: identical recordings in pool and test are refused too, and labelled `leak:pool-audio` where that is
allowed. What else the pool shares is labelled: `pool:speaker` (dialogue, session) with test, `pool-dev:...` with dev.
That its sentences are none of train and dev is the model's own check (`sermodels.inputs.unlabelled_pool`).

A corpus may declare that its own official split shares some of them (`Corpus.shared`): the score is labelled then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import inside
from ...datasets.schema.corpus import Corpus
from ...features.core.audio import AudioHashes, audio_sha256, signature
from .protocol import Division

GUARDED = ("speaker", "dialogue", "session")
"""Columns whose values may not cross from train or dev to test."""
WORDS = 4
SHARE = 0.5
OVERLAP = 0.5
"""Share of the shorter segment from which on two segments of one file are the same audio."""
NAMES = {
    "speaker": "speakers",
    "dialogue": "dialogues",
    "session": "sessions",
    "audio": "identical recordings",
    "text": "transcripts",
}
_PROBE = 4096


@dataclass(frozen=True)
class Side:
    """Rows of a corpus on one side of a fold: those trained and selected on, or those tested."""

    corpus: Corpus
    rows: pd.DataFrame


@dataclass(frozen=True)
class Crossing:
    """What crosses in the worst fold: how many (values or test items), and one of them."""

    count: int
    example: str


Pairs = Sequence[tuple[Side, Side]]
"""(trained and selected on, tested) of each fold."""


def sides(corpus: Corpus, divisions: Iterable[Division], items: pd.DataFrame) -> list[tuple[Side, Side]]:
    """The sides of every fold of one corpus."""
    return [(Side(corpus, items.loc[[*d.train, *d.dev]]), Side(corpus, items.loc[list(d.test)])) for d in divisions]


def leaks(pairs: Pairs, *, texts: bool = False) -> dict[str, Crossing]:
    """What crosses, by kind: a column of `GUARDED`, "audio", and with `texts` "text"; kinds that don't are left out."""
    crossings = {column: _columns(pairs, column) for column in GUARDED}
    crossings["audio"] = _audio(pairs)
    if texts:
        crossings["text"] = _texts(pairs)
    return {kind: crossing for kind, crossing in crossings.items() if crossing.count}


def guard(pairs: Pairs, *, texts: bool = False, allow_leak: bool = False, own_split: bool = True) -> list[str]:
    """Labels for the signature (`shared:speaker`, `leak:audio`, `speakers-unknown`); an undeclared leak is refused.

    What a corpus declares of its own splits says nothing of a file's (`own_split` False).

    Raises
    ------
    SerbenchError
        When something crosses that the tested corpus does not declare as shared by its own split, and `allow_leak` is
        not set.
    """
    trained, tested = pairs[0][0].corpus, pairs[0][1].corpus
    declared = tested.shared if trained is tested and own_split else ()
    crossing_kinds = leaks(pairs, texts=texts)
    undeclared = {kind: crossing for kind, crossing in crossing_kinds.items() if kind not in declared}
    if undeclared and not allow_leak:
        raise _refusal(trained, tested, undeclared)
    labels = [f"{'shared' if kind in declared else 'leak'}:{kind}" for kind in crossing_kinds]
    if trained is tested:
        unknown = pd.concat([side.rows["speaker"] for side in pairs[0]]).isna()
        labels += [("speakers-unknown" if unknown.all() else "speakers-partly-unknown")] if unknown.any() else []
    return labels


def guard_pool(pool: Side, dev: Side, tested: Side, *, allow_leak: bool = False) -> list[str]:
    """Labels about what an unlabelled pool shares with the items that are selected on and those that are tested.

    Raises
    ------
    SerbenchError
        When a recording of the pool is tested, and `allow_leak` is not set.
    """
    crossings = leaks([(pool, tested)])
    if (heard := crossings.get("audio")) and not allow_leak:
        raise SerbenchError(
            f"{heard.count} test items of {tested.corpus.name} (such as {heard.example}) are in the "
            f"unlabelled pool of {pool.corpus.name} too, so the model would be trained on test audio. Correct the "
            "partitions, type --set model.unlabelled=0 for a supervised training, or add --allow-leak, which labels "
            "the score."
        )
    labels = [f"leak:pool-{kind}" if kind == "audio" else f"pool:{kind}" for kind in crossings]
    return [*labels, *(f"pool-dev:{kind}" for kind in leaks([(pool, dev)]))]


def _refusal(trained: Corpus, tested: Corpus, crossings: dict[str, Crossing]) -> SerbenchError:
    what = ", ".join(f"{c.count} {NAMES[kind]} (such as {c.example})" for kind, c in crossings.items())
    text = " The model reads transcripts." if "text" in crossings else ""
    if trained is tested:
        where, remedy = f"of {tested.name}", f"another split ({', '.join(tested.splits)}) with --split"
    else:
        where, remedy = f"of {tested.name} (tested) and {trained.name} (trained on)", "another --test-dataset"
    return SerbenchError(
        f"{what} {where} stand both in training and in test, so the score would be too good.{text} Choose {remedy}, "
        "or add --allow-leak, which labels the score."
    )


def _columns(pairs: Pairs, column: str) -> Crossing:
    return _worst(
        _values(train, column) & _values(test, column)
        for train, test in pairs
        if _same_corpus(train.corpus, test.corpus)
    )


def _values(side: Side, column: str) -> set[str]:
    return set(side.rows[column].dropna().astype(str)) if column in side.rows else set()


def _same_corpus(a: Corpus, b: Corpus) -> bool:
    return a is b or (a.name == b.name and (not a.generic or a.root == b.root))


def _worst(crossings: Iterable[Collection[str]]) -> Crossing:
    most: Collection[str] = max(crossings, key=len, default=())
    return Crossing(len(most), repr(min(most)) if most else "")


def plain_text(texts: pd.Series[str]) -> pd.Series[str]:
    """Texts without case, punctuation and further blanks; empty ones are missing."""
    plain = texts.astype("string").str.casefold().str.replace(r"[^\w\s]|_", "", regex=True).str.split().str.join(" ")
    return plain.mask(plain.eq(""))


def _texts(pairs: Pairs) -> Crossing:
    return _worst(_shared_texts(train.rows, test.rows) for train, test in pairs)


def _shared_texts(train: pd.DataFrame, test: pd.DataFrame) -> list[str]:
    """Transcripts of test items that are met in training, one per item; long ones, or all where they are too many."""
    texts = plain_text(test["text"]).dropna()
    met = texts[texts.isin(set(plain_text(train["text"]).dropna()))]
    return list(met if len(met) > SHARE * len(test) else met[met.str.count(" ") >= WORDS - 1])


def _audio(pairs: Pairs) -> Crossing:
    tables = {id(side): _files(side) for pair in pairs for side in pair}
    contents = _contents({path for table in tables.values() for path in table["path"]})
    return _worst(_shared_audio(tables[id(train)], tables[id(test)], contents) for train, test in pairs)


def _files(side: Side) -> pd.DataFrame:
    """Path, start and end of each row; paths that leave the root are left to the extraction, which reports them."""
    paths: list[str | None] = []
    for relative in side.rows["path"]:
        try:
            paths.append(str(inside(side.corpus.root, str(relative))))
        except SerbenchError:
            paths.append(None)
    table = side.rows[["start", "end"]].fillna({"start": 0.0, "end": np.inf})
    return table.assign(path=pd.array(paths, dtype="string")).dropna(subset="path")


def _contents(paths: Collection[str]) -> dict[str, str]:
    """Path -> what stands for its content: equal exactly where the bytes are; files that can't be read are left out.

    Only files of one size with one beginning of their second half are read whole.
    """
    hashes = AudioHashes()
    by_size: dict[int, list[str]] = {}
    for path in paths:
        try:
            by_size.setdefault(signature(path)[0], []).append(path)
        except OSError:
            continue
    contents: dict[str, str] = {}
    for size, group in by_size.items():
        contents.update(dict.fromkeys(group, f"size {size}") if len(group) == 1 else _of_one_size(group, size, hashes))
    hashes.save()
    return contents


def _of_one_size(paths: Sequence[str], size: int, hashes: AudioHashes) -> Iterator[tuple[str, str]]:
    known = {path: sha for path in paths if (sha := _remembered(path, hashes))}
    by_probe: dict[bytes, list[str]] = {}
    for path in paths if len(known) < len(paths) else ():
        try:
            with open(path, "rb", buffering=0) as stream:
                stream.seek(size // 2)
                by_probe.setdefault(stream.read(_PROBE), []).append(path)
        except OSError:
            continue
    for group in by_probe.values():
        if len(group) == 1:
            yield group[0], f"size {size}, file {group[0]}"
            continue
        for path in group:
            try:
                yield path, audio_sha256(path, hashes)
            except SerbenchError:
                continue
    yield from known.items() if not by_probe else ()


def _remembered(path: str, hashes: AudioHashes) -> str | None:
    try:
        return hashes.known(path, signature(path))
    except OSError:
        return None


def _shared_audio(train: pd.DataFrame, test: pd.DataFrame, contents: dict[str, str]) -> list[str]:
    """Ids of test items whose audio is met in training."""
    left, right = (t.assign(content=[contents.get(p, p) for p in t["path"]]) for t in (train, test))
    both = set(left["content"]) & set(right["content"])
    segments = {c: part[["start", "end"]].to_numpy() for c, part in left[left["content"].isin(both)].groupby("content")}
    met = right[right["content"].isin(both)]
    spans = zip(met.index, met["content"], met["start"], met["end"], strict=True)
    return [str(item) for item, content, start, end in spans if _overlaps(segments[content], start, end)]


def _overlaps(segments: npt.NDArray[np.float64], start: float, end: float) -> bool:
    """Whether a segment shares enough with any of (segment, [start, end]) of the same file."""
    shared = np.minimum(segments[:, 1], end) - np.maximum(segments[:, 0], start)
    shortest = np.minimum(segments[:, 1] - segments[:, 0], end - start)
    return bool(((shared > 0) & (shared >= OVERLAP * shortest)).any())
