"""What fuzz mutates: a small whole file of each kind that serbench reads, and what reads it.

Label files are those of the miniature corpora, and small layouts of the corpora that have none; where labels are in the
names of files, the names are mutated. A reader gives the number of utterances that it lost, where that can be known.
A component is asked for by its name, as the command line asks for it.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ....datasets import miniatures

TABLES = (".csv", ".tsv", ".tab", ".json", ".jsonl", ".yaml")
TEXT = (*TABLES, ".txt", ".lab", ".textgrid", ".vec", ".anvil", ".wdseg", ".lst", ".silb")
SOUND = (".wav", ".flac", ".mp3", ".ogg", ".mp4", ".avi")
KINDS_OF_SOUND = ("wav", "flac", "mp3", "ogg")
MANY = 6
"""How much more often sound is mutated than each other kind of file."""


@dataclass(frozen=True)
class Target:
    """A kind of file: its name, the files that are mutated in turn, and what reads them.

    Attributes
    ----------
    named : whether the names of the files are mutated instead of what is in them
    weight : how much more often than others
    """

    name: str
    files: tuple[Path, ...]
    read: Callable[[Path], object]
    named: bool = False
    weight: int = 1


def labels_of(dataset: str) -> str:
    """The kind of file that holds a dataset's labels."""
    return {"table": "table (.csv)", "hf": "parquet with sound (hf)"}.get(dataset, f"labels of {dataset}")


def makers() -> dict[str, Callable[[Path], Target]]:
    """Name of a kind of file -> what makes it below a folder."""
    labels = {f"labels of {name}": partial(_labels, name=name) for name in miniatures.names()}
    there = importlib.util.find_spec("audformat") is not None
    return labels | {"labels of emodb": _emodb} | ({"labels of audformat": _audformat} if there else {}) | MAKERS


def _module(name: str) -> Any:
    return importlib.import_module(f"serbench.{name}")


def _labels(place: Path, name: str) -> Target:
    """The label files of a corpus's miniature, or the names of its sound files."""
    root = place / name
    if not root.exists():
        _module("benchmarks.corpora.mock").write_mock(name, root)
    return _corpus(name, root)


def _corpus(name: str, root: Path) -> Target:
    """Label files are read as the whole corpus; what was lost is the number of utterances."""
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

    every = sorted(p for p in root.rglob("*") if p.is_file())
    files = tuple(p for p in every if p.suffix.lower() not in SOUND and p.stat().st_size)
    return Target(f"labels of {name}", files or tuple(every), read, named=not files)


def _emodb(place: Path) -> Target:
    """A layout of EMO-DB: labels in names, ratings and syllables in files."""
    root = place / "emodb"
    for name in ("03a01Fa", "08a05Wb", "16b10Tc", "03a02Wc", "08b03Na", "16a04Lb"):
        soundfile.write(_new(root / "wav", f"{name}.wav"), np.zeros(800), 16000)
    lines = "1\t03a01Fa.wav\t90,00\t75,50\n2\t08a05Wb.wav\t95,24\t100,00\n"
    _new(root, "erkennung.txt").write_bytes(f"Nr.\tSatz\terkannt\tnatuerlich\n{lines}".encode("latin-1"))
    _new(root / "silb", "03a01Fa.silb").write_bytes("0.08\tder\n0.25\tschr\xe4nk \n0.40\t.\n".encode("latin-1"))
    return _corpus("emodb", root)


def _audformat(place: Path) -> Target:
    """A database of audformat that its own library writes."""
    library, root = importlib.import_module("audformat"), place / "audformat"
    files = [f"audio/{k:02}.wav" for k in range(12)]
    made = library.Database("tiny", languages=["deu"])
    made.schemes["emotion"] = library.Scheme(labels=["anger", "sadness"])
    made.schemes["speaker"] = library.Scheme(labels=["anna", "bert", "cleo"])
    made["files"] = library.Table(library.filewise_index(files))
    for name, values in (("emotion", ("anger", "sadness")), ("speaker", ("anna", "bert", "cleo"))):
        made["files"][name] = library.Column(scheme_id=name)
        made["files"][name].set([values[k % len(values)] for k in range(12)])
    made.save(str(root), storage_format="csv")
    return _corpus("audformat", root)


def _sound(place: Path, ending: str) -> Target:
    file = _new(place, f"x{ending}")
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 4000), 16000)
    read = _module("features.core.audio").read_audio
    return Target(f"sound ({ending[1:]})", (file,), lambda path: _finite(read(path, 8000)[0]), weight=MANY)


def _finite(signal: Any) -> None:
    if not np.isfinite(signal).all():
        raise ValueError("samples are not finite")


def _listed(place: Path) -> Target:
    """A file of a corpus whose features are made: it has an array, or is listed with its reason."""
    folder = place / "listed"
    for k in range(3):
        soundfile.write(_new(folder, f"{k}.wav"), np.random.default_rng(k).normal(0, 0.1, 1600), 8000)
    rows = importlib.import_module("pandas").DataFrame({"path": ["0.wav", "1.wav", "2.wav"]}, index=["a", "b", "c"])
    extract, build = _module("features.extraction.extract").extract, _module("features.core.feature_extractor").build
    cache, request = (
        _module("features.cache.cache").FeatureCache,
        _module("features.core.feature_request").FeatureRequest,
    )

    def read(path: Path) -> None:
        table = extract(rows, folder, build(request("mel")), cache(place / "made"))
        if sorted([*table, *table.failed]) != ["a", "b", "c"] or not all(table.failed.values()):
            raise ValueError(f"{sorted(table)} and {table.failed} are not three")

    return Target("sound of a corpus (wav)", (folder / "1.wav",), read)


def _checkpoint(place: Path) -> Target:
    """An untrained network of the released shape, and normalisation constants beside it."""
    torch, savemat = importlib.import_module("torch"), importlib.import_module("scipy.io").savemat
    layers, inside = [], 1
    for outside in (32, 32, 64, 64, 128, 128, 128):
        layers += [torch.nn.Conv2d(inside, outside, 3), torch.nn.BatchNorm2d(outside), torch.nn.ReLU()]
        inside = outside
    heads = {"cnn_out.0": (1024, 256), "classifier.0": (256, 256), "emo_regressor.0": (256, 256)}
    heads |= {"top_layer_class": (256, 4), "top_layer_attri": (256, 1)}
    state = torch.nn.Sequential(*layers).state_dict(prefix="cnn_features.module.")
    for name, sizes in heads.items():
        state |= torch.nn.Linear(*sizes).state_dict(prefix=f"{name.replace('cnn_out', 'cnn_out.module')}.")
    file = _new(place / "released", "x_Act.pth.tar")
    torch.save({"arch": "Vgg16", "state_dict": state}, file)
    for name, size in (("feat", 128), ("act", 1)):
        for kind in ("means", "stds"):
            savemat(file.with_name(f"{name}_norm_{kind}.mat"), {"normal_para": np.ones((1, size))})
    convert = _module("sermodels.deepemocluster.importer").convert
    files = (file, *sorted(file.parent.glob("*.mat")))
    return Target("checkpoint (.pth.tar)", files, lambda path: bool(convert(file, file.parent)) or None)


def _weights(place: Path) -> Target:
    """A small trained model."""
    persist, fit = _module("sermodels.core.persist"), _module("benchmarks.conformance.material").fit
    file = persist.save_model(fit("cnn-regressor", "regression")[0], _new(place, "x"))
    return Target("weights (.safetensors)", (file,), lambda path: bool(persist.load_model(path)) or None)


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
    **{f"sound ({ending})": partial(_sound, ending=f".{ending}") for ending in KINDS_OF_SOUND},
    "sound of a corpus (wav)": _listed,
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
"""Those that are no labels of a corpus."""
