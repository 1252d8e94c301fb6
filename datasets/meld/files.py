"""Where MELD's label files and clips lie: the published archive, its usual variants, and audio that users made of it.

The published tree, after every nested archive was unpacked, is

    MELD.Raw/{dev,test}_sent_emo.csv
    MELD.Raw/train/train_sent_emo.csv, train/train_splits/dia0_utt0.mp4
    MELD.Raw/dev_splits_complete/dia0_utt0.mp4
    MELD.Raw/output_repeated_splits_test/dia0_utt0.mp4, final_videos_testdia0_utt0.mp4 (132 recut clips)

with the folders of clips also in a folder of their split, under shorter names, or as `audio/train/dia0_utt0.flac`.
Audio files of the same names are preferred to clips. Names that begin with a dot (AppleDouble stubs) are never seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from ..core.errors import SerbenchError
from ..reading.locate import find, find_root, is_archive, missing, need_root, relative, visible
from .video import VIDEO

SPLITS = ("train", "dev", "test")
FOLDERS: Mapping[str, tuple[str, ...]] = {
    "train": ("train_splits", "train_splits_complete"),
    "dev": ("dev_splits_complete", "dev_splits"),
    "test": ("output_repeated_splits_test", "test_splits", "test_splits_complete"),
}
AUDIO_FOLDERS = ("audio", "audios", "wav", "wavs", "flac")
CLIP_ENDINGS = VIDEO
AUDIO_ENDINGS = (".flac", ".wav")
RECUT = "final_videos_test"
"""What the names of recut test clips begin with."""
_CLIP = re.compile(rf"({RECUT})?dia(\d+)_utt(\d+)(\.[a-z0-9]+)", re.IGNORECASE)
_ARCHIVES = ("meld*", "train", "dev", "test")

Clips = dict[tuple[bool, int, int], str]
"""(recut, dialogue, utterance) -> path relative to the root."""


def find_base(root: Path | None) -> Path:
    """The folder that holds the training labels, or a folder with them: the root or one below it."""
    given = need_root(root, "meld", "the folder that MELD.Raw.tar.gz was unpacked into, or a clone of its repository")
    return find_root(
        given,
        lambda folder: any(_label_file(folder, split) for split in SPLITS),
        dataset="meld",
        looked_for="train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv (or in train/, dev/, test/, data/MELD/)",
        archives=_ARCHIVES,
        avoid=frozenset({*SPLITS, *AUDIO_FOLDERS}),
    )


def label_files(base: Path) -> dict[str, Path]:
    """Split -> label file; all three are needed."""
    paths = {split: _label_file(base, split) for split in SPLITS}
    lacking = [f"{split}_sent_emo.csv" for split, path in paths.items() if path is None]
    if lacking:
        raise _half(base, lacking, [path for path in paths.values() if path])
    return {split: path for split, path in paths.items() if path is not None}


def locate(base: Path, rows: pd.DataFrame, *, corrected: bool) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Path of each row's audio, and notes on what the folders hold.

    Parameters
    ----------
    rows : with columns partition, dialogue_number, utterance_number
    corrected : take the recut test clips where they are there

    Returns
    -------
    table indexed like `rows`: path (the published place where nothing is found), cut ("corrected" or "plain"); notes
    """
    paths: dict[str, str] = {}
    kinds: dict[str, str] = {}
    absent = orphans = 0
    for split, part in rows.groupby("partition", sort=False):
        folder, clips = find_clips(base, str(split))
        default = relative(base, folder) if folder else FOLDERS[str(split)][0]
        used: set[tuple[int, int]] = set()
        for item, *numbers in zip(part.index, part["dialogue_number"], part["utterance_number"], strict=True):
            key = (int(numbers[0]), int(numbers[1]))
            recut = corrected and (True, *key) in clips
            paths[str(item)] = clips.get((recut, *key)) or f"{default}/dia{key[0]}_utt{key[1]}.mp4"
            kinds[str(item)] = "corrected" if recut else "plain"
            absent += (recut, *key) not in clips
            used.add(key)
        orphans += len({(d, u) for _, d, u in clips} - used)
    table = pd.DataFrame({"path": pd.Series(paths), "cut": pd.Series(kinds)}, dtype="string").reindex(rows.index)
    return table, tuple(_notes(absent, orphans, len(rows), sum(kind == "corrected" for kind in kinds.values())))


def find_clips(base: Path, split: str) -> tuple[Path | None, Clips]:
    """The folder of a split's clips (or audio files), and its files; (None, {}) where there is none."""
    for folder in _candidates(base, split):
        clips = _listing(base, folder)
        if clips:
            return folder, clips
    return None, {}


def _candidates(base: Path, split: str) -> Iterator[Path]:
    audio = find(base, AUDIO_FOLDERS)
    own = find(base, (split,))
    for parent, names in (
        (audio, (split, *FOLDERS[split])),
        (base, FOLDERS[split]),
        (own, FOLDERS[split]),
        (own, AUDIO_FOLDERS),
    ):
        folder = find(parent, names) if parent else None
        if folder:
            yield folder
    if own:
        yield own


def _listing(base: Path, folder: Path) -> Clips:
    """Files of a folder that are named like clips; of two with one stem, audio goes before video."""
    best: dict[tuple[bool, int, int], tuple[int, str]] = {}
    order = (*AUDIO_ENDINGS, *CLIP_ENDINGS)
    for entry in visible(folder):
        match = _CLIP.fullmatch(entry.name)
        if match is None or match[4].lower() not in order:
            continue
        key = (match[1] is not None, int(match[2]), int(match[3]))
        choice = (order.index(match[4].lower()), relative(base, Path(entry.path)))
        best[key] = min(best.get(key, choice), choice)
    return {key: path for key, (_, path) in best.items()}


def _label_file(base: Path, split: str) -> Path | None:
    name = f"{split}_sent_emo.csv"
    data = find(base, ("data",))
    repository = find(data, ("meld",)) if data else None
    folders = (base, find(base, (split,)), *(find(base, (f,)) for f in FOLDERS[split]), repository)
    copies = [path for folder in folders if folder and (path := find(folder, (name,), "file"))]
    for other in copies[1:]:
        if other.read_bytes() != copies[0].read_bytes():
            raise SerbenchError(
                f"two files are the labels of {split}, and they differ: {str(copies[0])!r} and {str(other)!r}. "
                "Keep the right one and move the other away."
            )
    return copies[0] if copies else None


def _half(base: Path, lacking: list[str], copied: list[Path]) -> SerbenchError:
    packed = [split for split in SPLITS if any(is_archive(e.name) and e.name.startswith(split) for e in visible(base))]
    error = missing("meld", base, f"{' and '.join(lacking)}", _ARCHIVES)
    if packed:
        return error
    there = ", ".join(path.name for path in copied)
    return SerbenchError(
        f"meld is copied by half: {there} found, {', '.join(lacking)} not, in {str(base)!r}. "
        "Copy the missing label files from the original archive or repository."
    )


def _notes(absent: int, orphans: int, rows: int, recut: int) -> Iterator[str]:
    if absent == rows:
        yield "no clip and no audio file was found: texts and labels only"
    elif absent:
        yield f"{absent} of {rows} rows have no clip in the folders (2 are known)"
    if orphans:
        yield f"{orphans} clips in the folders have no row in the label files, and are not used"
    if recut:
        yield f"{recut} test utterances use the recut clips (test_clips=plain takes the first cuts)"
