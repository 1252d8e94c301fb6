"""Hostile input: files that were made to do harm, each given to the command that would read it.

Refused means: exit status 2 and a message. Listed means: the file is left out with its reason and the work goes on.
Harmless means: the work ends as if the text were any other; no terminal is commanded by it, no page runs it, no
spreadsheet computes it. What a pickle would have run leaves a file, which must not be there.
"""

from __future__ import annotations

import csv
import importlib
import os
import pickle
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ....results.record.storage import FORMULA
from ..children import Done, command
from ..tally import Tally
from ..works import Work, Workshop, sound

OWNED = "owned"
"""Name of the file that a pickle would leave."""
ESCAPE = "\x1b[2J\x1b]0;owned\x07"
TEXTS = {
    "CSV formulas": "=HYPERLINK(0)",
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "terminal escape codes": f"{ESCAPE}x",
}
BOMB_MIB = 256
SECRET = "nobody-may-read-this"


@dataclass(frozen=True)
class Evil:
    """A pickle that leaves a file where it is loaded."""

    place: str

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return os.mkdir, (self.place,)


def tortured(place: Path, rounds: int, seed: int) -> Iterator[Tally]:
    """A row for each kind of hostile input; they are few, and the same in every round."""
    shop = Workshop(place, ["run linear"])
    yield from (paths(shop), links(shop), headers(shop), shared_cache(shop), pickles(shop), archives(shop))
    for name, text in TEXTS.items():
        yield texts(shop, name, text)


def paths(shop: Workshop) -> Tally:
    """Paths of a label file that leave its folder."""
    row = Tally("table", "paths that leave the folder")
    for path in ("../../etc/passwd", "/etc/passwd", "a/../../x.wav", "..", "~/x.wav/../../../y.wav"):
        folder, table = _corpus(shop, {0: {"path": path}})
        done = command(["check", "table", "--root", str(table)], folder)
        row.add("refused", _refused(done, folder, path))
    return row


def links(shop: Workshop) -> Tally:
    """Links in the place of sound, of records and of tables: to devices, pipes, themselves, and what is secret."""
    row = Tally("sound and records", "links to elsewhere")
    for target in ("/dev/zero", "00.wav", "secret", "pipe", ".."):
        folder, table = _corpus(shop, {})
        (table.parent / "secret").write_text(SECRET)
        os.mkfifo(table.parent / "pipe")
        (table.parent / "00.wav").unlink()
        (table.parent / "00.wav").symlink_to(target)
        for arguments in (["check", "table", "--root", str(table)], _run(table)):
            row.add("listed", _listed(command(arguments, folder), "00.wav", target))
        record = folder / "results/runs/a/run.json"
        record.parent.mkdir(parents=True)
        record.symlink_to(table.parent / target)
        row.add("listed", _listed(command(["leaderboard"], folder), "", f"record -> {target}"))
        table.unlink()
        table.symlink_to(table.parent / ("toy.csv" if target == "00.wav" else target))
        done = command(["check", "table", "--root", str(table)], folder)
        row.add("refused", _refused(done, folder, f"table -> {target}"))
    return row


def _listed(done: Done, name: str, what: str) -> str:
    wrong = done.problem or ("" if done.status in (0, 1, 2) and name in done.said else f"status {done.status}")
    wrong = wrong or ("what is secret is shown" if SECRET in done.said else "")
    return f"{what}: {wrong}: {done.said[-300:]}" if wrong else ""


def shared_cache(shop: Workshop) -> Tally:
    """A cache that every user of the machine may write to."""
    row = Tally("cache", "a folder that others may write to")
    for inner in ("cache", "cache/features"):
        folder, table = _corpus(shop, {})
        (folder / "cache/features").mkdir(parents=True)
        (folder / inner).chmod(0o777)
        row.add("refused", _refused(command(_run(table), folder), folder, inner))
    return row


def headers(shop: Workshop) -> Tally:
    """Sound whose header claims what no file holds."""
    row = Tally("wav", "absurd headers")
    for channels, rate, size, bits in (
        (65535, 8000, 2**31 - 1, 16),
        (0, 8000, 100, 16),
        (1, 0, 100, 16),
        (1, 2**32 - 1, 2**32 - 1, 16),
        (1024, 2**31 - 1, 2**32 - 1, 64),
        (1, 1, 2**32 - 1, 8),
    ):
        folder, table = _corpus(shop, {})
        block = min(channels * bits // 8, 65535)
        head = struct.pack("<IHHIIHH", 16, 1, channels, rate, min(rate * block, 2**32 - 1), block, bits)
        content = b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WAVEfmt " + head + b"data" + struct.pack("<I", size)
        (table.parent / "00.wav").write_bytes(content + b"\0" * 64)
        (table.parent / "01.wav").write_bytes(_caf(channels))
        for arguments in (["check", "table", "--root", str(table)], _run(table)):
            done = command(arguments, folder)
            wrong = done.problem or ("" if done.status in (0, 1, 2) else f"status {done.status}")
            row.add(
                "listed or refused", f"{channels} channels, {rate} Hz: {wrong}: {done.said[-300:]}" if wrong else ""
            )
    return row


def _caf(channels: int) -> bytes:
    """A Core Audio file, whose header has room for 2^31 channels or more."""
    described = struct.pack(">d4sIIIII", 8000.0, b"lpcm", 0, 2, 1, min(max(channels << 15, 1 << 31), 2**32 - 1), 16)
    return (
        b"caff"
        + struct.pack(">HH4sq", 1, 0, b"desc", 32)
        + described
        + struct.pack(">4sqI", b"data", 68, 0)
        + bytes(64)
    )


def pickles(shop: Workshop) -> Tally:
    """Pickles in every place that reads weights, vectors, arrays or constants."""
    row = Tally("weights and arrays", "pickles that run code")
    torch, numpy = importlib.import_module("torch"), importlib.import_module("numpy")
    for name, ending, arguments in _readers():
        folder, table = _corpus(shop, {})
        evil, file = Evil(str(folder / OWNED)), folder / (ending if "/" in ending else f"evil{ending}")
        file.parent.mkdir(exist_ok=True)
        writers: tuple[Callable[[], object], ...] = (
            partial(file.write_bytes, pickle.dumps(evil)),
            partial(torch.save, {"state_dict": evil}, file),
            partial(_save_objects, file, numpy.array([evil], dtype=object)),
        )
        for write in writers:
            write()
            _described(file)
            done = command([a.format(file=file, table=table, folder=folder) for a in arguments], folder)
            row.add("refused", _refused(done, folder, f"{name} ({ending})"))
            shutil.rmtree(folder / OWNED, ignore_errors=True)
    return row


def _described(file: Path) -> None:
    """What else a folder needs to be taken for a model that travels, or for an encoder."""
    if file.parent.name == "sent":
        layout = importlib.import_module("serbench.sermodels.hub.layout")
        facts = dict.fromkeys(layout.REQUIRED - {"schema", "files"}, "x")
        (file.parent / layout.CONFIG).write_bytes(layout.parcel(file.read_bytes(), facts, "")[layout.CONFIG])
    if file.parent.name == "encoder":
        (file.parent / "config.json").write_text('{"model_type": "wav2vec2"}')


def _save_objects(file: Path, array: Any) -> None:
    with file.open("wb") as stream:
        importlib.import_module("numpy").save(stream, array, allow_pickle=True)


def _readers() -> list[tuple[str, str, list[str]]]:
    """Every command that reads weights or arrays, with the place of the file."""
    table, file = ["--dataset", "table", "--root", "{table}"], "{file}"
    run = ["run", *table, "--trials", "1"]
    fusion = [*run, "--model", "semantic-fusion", "--task", "emotion"]
    return [
        *(("run --weights", e, ["run", *table, "--weights", file]) for e in (".safetensors", ".pth", ".pkl", ".pt")),
        ("run --weights FOLDER", "sent/model.safetensors", ["run", *table, "--weights", "{folder}/sent"]),
        ("predict --weights FOLDER", "sent/model.safetensors", ["predict", "{folder}", "--weights", "{folder}/sent"]),
        ("encoder", "encoder/pytorch_model.bin", ["extract", "transformers:{folder}/encoder", *table]),
        ("encoder", "encoder/model.safetensors", ["extract", "transformers:{folder}/encoder", *table]),
        ("predict --weights", ".bin", ["predict", "--weights", file, "{folder}"]),
        ("import", "_Act.pth.tar", ["import", "deepemocluster", file, "--norm", "{folder}", "--out", "o.safetensors"]),
        ("word vectors", ".vec", ["extract", "word-vectors:{file}", *table]),
        ("word vectors", ".bin", ["extract", "word-vectors:{file}", *table]),
        ("model.vectors", ".vec", [*fusion, "--set", "model.vectors={file}"]),
        ("model.encoder", ".safetensors", [*fusion, "--set", "model.encoder={file}"]),
        ("align-spaces", ".vec", ["words", "align-spaces", file, file, "--out", "m.safetensors"]),
        ("split file", ".parquet", [*run, "--model", "chance", "--split", file]),
        ("merge", ".zip", ["merge", file, "--out", "merged"]),
    ]


def archives(shop: Workshop) -> Tally:
    """Zip files with names that climb, and ones that unpack to far more than they hold."""
    row = Tally("zip of records or weights", "climbing names and bombs")
    for name in ("../../runs/a/run.json", "/runs/a/run.json", "runs/../../x", "runs/a/..\\..\\x", "runs/../run.json"):
        folder, _ = _corpus(shop, {})
        with zipfile.ZipFile(folder / "evil.zip", "w") as archive:
            archive.writestr(name, "{}")
        before = {p for p in folder.parent.rglob("*") if p.name in ("x", "run.json")}
        done = command(["merge", "evil.zip", "--out", "merged"], folder)
        new = {p for p in folder.parent.rglob("*") if p.name in ("x", "run.json")} - before
        row.add("refused", f"{name}: wrote {new}" if new else _refused(done, folder, name))
    weights = ["import", "deepemocluster", "bomb_Act.pth.tar", "--norm", ".", "--out", "o.safetensors"]
    bombs = {"bomb.zip": ["merge", "bomb.zip", "--out", "merged"], "bomb_Act.pth.tar": weights}
    for name, arguments in bombs.items():
        folder, _ = _corpus(shop, {})
        _bomb(folder / name, "runs/a/run.json" if name.endswith(".zip") else "x/data.pkl")
        row.add("refused", _refused(command(arguments, folder), folder, name))
        (folder / name).unlink()
    return row


def _bomb(file: Path, name: str) -> None:
    """A zip file of a part that unpacks to a thousand times its size."""
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w", force_zip64=True) as entry,
    ):
        for _ in range(BOMB_MIB):
            entry.write(bytes(1 << 20))


def texts(shop: Workshop, name: str, text: str) -> Tally:
    """A text as label, speaker, transcript and file name: a run, its leaderboard and its report."""
    row = Tally("labels, speakers, transcripts", name)
    safe = re.sub(r"[/\0]", "_", text)
    folder, table = _corpus(shop, {}, label=text, speaker=text, text=text)
    shutil.copy(table.parent / "03.wav", table.parent / f"{safe}.wav")
    rows = pd.read_csv(table, dtype=str)
    rows.loc[3, "path"] = f"{safe}.wav"
    rows["language"] = [(text, "another")[k // 4 % 2] for k in range(len(rows))]
    rows.to_csv(table, index=False)
    weights = "results/runs/table_label_linear_*/unit-0-official.safetensors"
    done: list[Done] = []
    for arguments in (
        _run(table, "label"),
        ["check", "table", "--root", str(table), "--out", "findings.csv"],
        ["card", "table", "--root", str(table), "--subsets", "2"],
        ["leaderboard"],
        ["fairness", "linear", "--by", "language"],
        ["report", "--bootstrap", "20"],
        ["site", "results", "--labels"],
        ["predict", "corpus", "--weights", weights, "--out", "predicted.csv"],
    ):
        line = [next((str(p) for p in folder.glob(a)), a) if a == weights else a for a in arguments]
        done.append(command(line, folder))
        wrong = done[-1].problem or ("a raw escape code is printed" if "\x1b]0;" in done[-1].said else "")
        wrong = wrong or (f"status {done[-1].status}" if done[-1].status not in (0, 1) else "")
        row.add("harmless", f"{arguments[0]}: {wrong}: {done[-1].said[-300:]}" if wrong else "")
    sound(done[0], "run linear")
    shutil.rmtree(folder / "corpus")
    found = [*_formulas(folder), *_tags(folder)]
    row.add("harmless", f"{', '.join(found[:4])}" if found else "")
    return row


def _formulas(place: Path) -> Iterator[str]:
    """Cells of CSV files that a spreadsheet would compute."""
    for path in place.rglob("*.csv"):
        with path.open(newline="", encoding="utf-8") as stream:
            yield from (
                f"{path.name}: {cell[:40]}" for row in csv.reader(stream) for cell in row if FORMULA.match(cell)
            )


def _tags(place: Path) -> Iterator[str]:
    """Pages that hold what was typed as a tag."""
    for path in (*place.rglob("*.html"), *place.rglob("*.svg")):
        text = path.read_text(encoding="utf-8")
        if "<script>alert" in text or "<img src=x" in text or "\x1b" in text:
            yield f"{path.name} holds the text as it was given"


def _run(table: Path, task: str = "emotion") -> list[str]:
    more = ["--trials", "1", "--subsets", "2", "--threads", "1", "--task", task, "--set", "model.feature=mel"]
    more += ["--save-models"]
    return ["run", "--model", "linear", "--dataset", "table", "--root", str(table), *more]


def _corpus(shop: Workshop, cells: dict[int, dict[str, str]], **every: str) -> tuple[Path, Path]:
    """A folder with a copy of the corpus in it, some of its cells changed; `every` replaces one value of a column."""
    folder = shop.fresh(Work("", ()))
    shutil.copytree(shop.place / "corpus", folder / "corpus")
    table = folder / "corpus" / "toy.csv"
    rows = pd.read_csv(table, dtype=str)
    rows = rows.rename(columns={"emotion": "label"}) if "label" in every else rows
    for column, text in every.items():
        rows[column] = rows[column].where(rows[column] != rows[column].iloc[0], text)
    for index, values in cells.items():
        for column, text in values.items():
            rows.loc[index, column] = text
    rows.to_csv(table, index=False)
    return folder, table


def _refused(done: Done, folder: Path, name: str) -> str:
    if (folder / OWNED).exists():
        return f"{name}: it ran"
    wrong = done.problem or ("" if done.status in (1, 2) else f"status {done.status}")
    return f"{name}: {wrong}: {done.said[-300:]}" if wrong else ""
