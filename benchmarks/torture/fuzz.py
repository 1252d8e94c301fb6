"""Fuzz: every kind of file that serbench reads, mutated at random and read again.

A reader may read the file, warn, or refuse it in words (`SerbenchError`). It may not raise anything else, hang, crash
the process, or take gigabytes. Files are read in forked children, a hundred in each; the one that a child dies of is
known by a note that it leaves before.

Rows that were lost in silence: a label file in which a cell, not a line, was changed holds the same utterances, so an
adapter that gives fewer of them has to say so, by an error, a warning or a note of the corpus.
"""

from __future__ import annotations

import importlib
import io
import json
import resource
import shutil
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile

from ...datasets import miniatures
from ...datasets.core.errors import SerbenchError
from .children import call
from .mutations import mutated
from .tally import Tally

BATCH = 100
SLOW = 10
"""Processor time [s] that one file may take."""
TEXT = (".csv", ".txt", ".json", ".jsonl", ".lab", ".tsv", ".textgrid", ".vec", ".anvil", ".wdseg", ".lst", ".tab")
SOUND = (".wav", ".flac", ".mp3", ".ogg", ".mp4", ".avi")


@dataclass(frozen=True)
class Target:
    """A kind of file: its name, the files that are mutated in turn, and what reads them."""

    name: str
    files: tuple[Path, ...]
    read: Callable[[Path], object]


def tortured(place: Path, rounds: int, seed: int, names: list[str] | None = None) -> Iterator[Tally]:
    """A row for each kind of file, with `rounds` mutated ones."""
    makers = {f"labels of {name}": partial(_adapter, name=name) for name in miniatures.names()} | MAKERS
    for name in names or makers:
        yield fuzzed(makers[name](place / "fuzz"), place, rounds, seed)


def fuzzed(target: Target, place: Path, rounds: int, seed: int) -> Tally:
    """`rounds` mutations of a target's files, in children."""
    row, done = Tally(target.name, "mutated files"), 0
    log = place / "outcomes.jsonl"
    while done < rounds:
        log.write_text("")
        last = min(rounds, done + BATCH)
        ended = call(partial(_batch, target, range(done, last), seed, log), place / "in", seconds=SLOW * BATCH)
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            if "outcome" in line:
                row.add(line["outcome"], line["wrong"])
        if len(lines) % 2:  # it had begun one, and died
            row.add("", f"{target.name}, {lines[-1]['begun']}: {ended.problem or ended.status}: {ended.said[-200:]}")
        if not lines:
            row.add("", f"{target.name}: {ended.problem or ended.status}: {ended.said[-200:]}")
        done += (len(lines) + 1) // 2 or BATCH
    return row


def _batch(target: Target, numbers: range, seed: int, log: Path) -> None:
    """Mutate and read one file after the other; each is as it was afterwards."""
    signal.signal(signal.SIGALRM, _too_slow)
    with log.open("a", encoding="utf-8") as notes:
        for number in numbers:
            rng = Random(f"{target.name} {seed} {number}")
            file = target.files[rng.randrange(len(target.files))]
            whole = file.read_bytes()
            data, how = mutated(whole, rng, text=file.suffix.lower() in TEXT)
            what = f"{how} of {file.name} (number {number})"
            notes.write(json.dumps({"begun": what}) + "\n")
            notes.flush()
            file.write_bytes(data)
            try:
                outcome, wrong = _read(target.read, file, how)
            finally:
                file.write_bytes(whole)
            wrong = f"{target.name}, {what}: {wrong}" if wrong else ""
            notes.write(json.dumps({"outcome": outcome, "wrong": wrong}) + "\n")
            notes.flush()


class TooSlow(BaseException):
    """A file took longer than it may."""


def _too_slow(number: int, frame: Any) -> None:
    raise TooSlow


def _read(read: Callable[[Path], object], file: Path, how: str) -> tuple[str, str]:
    signal.setitimer(signal.ITIMER_REAL, 6 * SLOW)
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            lost = read(file)
        if isinstance(lost, int) and lost > 0 and how == "cell" and not warned:
            return "", f"{lost} utterances were lost in silence"
        if resource.getrusage(resource.RUSAGE_SELF).ru_utime - began > SLOW:
            return "", f"more than {SLOW} s"
        return "read", ""
    except SerbenchError as error:
        return "refused", "" if str(error).strip() else "refused without a word"
    except (Exception, TooSlow) as error:
        return "", f"{type(error).__name__}: {str(error)[:160]} ({_place(error)})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _place(error: BaseException) -> str:
    """File and line of ours that an error comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/torture/fuzz" not in f.filename and "site-packages" not in f.filename]
    last = ([f for f in ours if "/lib/python" not in f.filename] or frames)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}"


# What is read. A component is asked for by its name, as the command line asks for it.


def _module(name: str) -> Any:
    return importlib.import_module(f"serbench.{name}")


def _adapter(place: Path, name: str) -> Target:
    """The label files of a corpus's miniature; what was lost is the number of utterances."""
    root = place / name
    if not root.exists():
        _module("benchmarks.corpora.mock").write_mock(name, root)
    load = _module("datasets.reading.load").load_corpus
    whole = load(name, root)

    def read(file: Path) -> int:
        corpus = load(name, root)
        for task in corpus.tasks:
            corpus.items(task)
        corpus.folds()
        corpus.digest()
        ids = corpus.utterances.index
        if corpus.word_source is not None and len(ids):
            corpus.words(str(ids[0]))
        return 0 if corpus.notes != whole.notes else len(whole.utterances) - len(ids)

    files = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix.lower() not in SOUND and p.stat().st_size)
    return Target(f"labels of {name}", tuple(files or [p for p in root.rglob("*") if p.is_file()]), read)


def _sound(place: Path, ending: str) -> Target:
    file = _new(place, f"x{ending}")
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 4000), 16000)
    read = _module("features.core.audio").read_audio
    return Target(f"sound ({ending[1:]})", (file,), lambda path: bool(np.isfinite(read(path, 8000)[0]).all()) or None)


def _checkpoint(place: Path) -> Target:
    torch, file = importlib.import_module("torch"), _new(place, "x_Act.pth.tar")
    torch.save({"state_dict": {"features.module.0.weight": torch.ones(4, 4)}, "epoch": 1}, file)
    importer = _module("sermodels.deepemocluster.importer")
    return Target("checkpoint (.pth.tar)", (file,), lambda path: importer.convert(path, place, None))


def _weights(place: Path) -> Target:
    numpy, file = importlib.import_module("safetensors.numpy"), _new(place, "x.safetensors")
    head = {"schema": 1, "serbench": "0", "model": "chance", "config": {}, "facts": {}, "task": {"name": "a"}}
    file.write_bytes(numpy.save({"constant": np.ones(3)}, metadata={"serbench": json.dumps(head)}))
    return Target("weights (.safetensors)", (file,), _module("sermodels.core.persist").load_model)


def _spaces(place: Path) -> Target:
    file = _new(place, "x.vec")
    file.write_text("3 2\nba 0.5 1\ndi 2 -3e-2\ngu 0 7\n")
    return Target("word vectors (.vec)", (file,), _module("features.words.vectors").read_vectors)


def _binary_vectors(place: Path) -> Target:
    file = _new(place, "x.bin")
    body = b"".join(word + b" " + np.ones(4, "<f4").tobytes() + b"\n" for word in (b"ba", b"di", b"gu"))
    file.write_bytes(b"3 4\n" + body)
    return Target("word vectors (.bin)", (file,), _module("features.words.vectors").read_vectors)


def _textgrid(place: Path) -> Target:
    file = _new(place, "x.TextGrid")
    tier = 'class = "IntervalTier"\nname = "words"\nxmin = 0\nxmax = 1\nintervals: size = 2\nintervals [1]:\nxmin = 0\n'
    more = 'xmax = 0.5\ntext = "ba"\nintervals [2]:\nxmin = 0.5\nxmax = 1\ntext = "di"\n'
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\n'
    head += "tiers? <exists>\nsize = 1\nitem []:\n"
    file.write_text(f"{head}item [1]:\n{tier}{more}")
    return Target("TextGrid", (file,), _module("datasets.reading.aligned_words").read_textgrid)


def _parquet(place: Path) -> Target:
    import pandas as pd

    file = _new(place / "hf", "train-00000-of-00001.parquet")
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(800), 8000, format="WAV")
    rows = [{"audio": {"bytes": stream.getvalue(), "path": f"{k}.wav"}, "label": "ab"[k % 2]} for k in range(6)]
    pd.DataFrame(rows).to_parquet(file, index=False)
    load = _module("datasets.reading.load").load_corpus
    return Target("parquet with sound (hf)", (file,), lambda path: bool(load("hf", path.parent)) or None)


def _table(place: Path) -> Target:
    file = _new(place / "table", "x.csv")
    rows = "".join(f"{k}.wav,s{k % 3},{('train', 'dev', 'test')[k % 3]},{k % 5},{'ab'[k % 2]}\n" for k in range(12))
    file.write_text(f"path,speaker,partition,arousal,label\n{rows}")
    load = _module("datasets.reading.load").load_corpus
    return Target("table (.csv)", (file,), lambda path: 12 - len(load("table", path).utterances))


def _split(place: Path) -> Target:
    file = _new(place, "split.csv")
    file.write_text("id,fold,role\n" + "".join(f"u{k},1,{('train', 'dev', 'test')[k % 3]}\n" for k in range(9)))
    read = _module("benchmarks.protocol.split_files").read
    return Target("split file", (file,), lambda path: bool(read(str(path), "table")) or None)


def _record(place: Path) -> Target:
    """A record of a run, by a pickle-free way of its own."""
    shutil.rmtree(place / "results", ignore_errors=True)
    grid = _module("benchmarks.grid.grid")
    table = _table(place).files[0]
    run = grid.run("chance", "table", root=table, task="label", trials=1, results=place / "results")[0]
    files = tuple(sorted(p for p in run.path.iterdir() if p.is_file()))

    def read(path: Path) -> None:
        opened = _module("results.record.run").Run.open(run.path)
        opened.items()
        opened.scores()

    return Target("records of a run", files, read)


def _new(place: Path, name: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    return place / name


MAKERS: dict[str, Callable[[Path], Target]] = {
    **{f"sound ({ending})": partial(_sound, ending=f".{ending}") for ending in ("wav", "flac", "mp3", "ogg")},
    "checkpoint (.pth.tar)": _checkpoint,
    "weights (.safetensors)": _weights,
    "word vectors (.vec)": _spaces,
    "word vectors (.bin)": _binary_vectors,
    "TextGrid": _textgrid,
    "parquet with sound (hf)": _parquet,
    "table (.csv)": _table,
    "split file": _split,
    "records of a run": _record,
}
"""Name of a kind of file -> what makes it below a folder."""
