"""Splits from files: three forms, EmoBox's folders, mistakes told in one line, records that need no file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.grid import grid
from serbench.benchmarks.grid.execution import make_plan, read_plan
from serbench.benchmarks.protocol.protocol import Division, Protocol, describe, divide, given_split
from serbench.benchmarks.protocol.request import Grid, Request
from serbench.benchmarks.protocol.setting import Corpora, resolve
from serbench.benchmarks.protocol.split_files import write
from serbench.datasets import emodb
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import Corpus, make_table, rotation
from serbench.datasets.schema.task import Task
from serbench.results.record.packing import export_run

EMOTION = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))
Row = tuple[str, str, str]


def corpus(n: int = 40, speakers: int = 5) -> Corpus:
    rows = [
        {
            "id": f"U_{i:02}",
            "path": f"wav/{i % 2}/U-{i:02}.WAV",
            "speaker": f"s{i % speakers}",
            "emotion": ("anger", "neutral")[i % 3 == 0],
        }
        for i in range(n)
    ]
    splits = {"speakers": rotation("speaker", [f"s{k}" for k in range(speakers)])}
    return Corpus("toy", "1", Path("/nowhere"), make_table(rows), (EMOTION,), splits)


def listing(n: int = 40, folds: int = 4, dev: bool = True) -> list[Row]:
    """Fold k tests every fourth item from k on and selects on the next ones."""
    role = {0: "test", 1: "dev" if dev else "train"}
    return [(f"U_{i:02}", f"{k}", role.get((i - k) % folds, "train")) for k in range(folds) for i in range(n)]


def rows(divisions: Sequence[Division]) -> list[Row]:
    return [(i, d.fold, role) for d in divisions for role in ("train", "dev", "test") for i in getattr(d, role)]


def split_by(path: Path, one: Corpus | None = None, **settings: str) -> list[Division]:
    return divide(one or corpus(), EMOTION, Protocol(split=str(path), **settings))


@pytest.fixture
def demo(toys: dict[str, Corpus], silent_corpus: Callable[..., Corpus]) -> Corpus:
    """A corpus that runs load by its name."""
    toys["demo"] = silent_corpus("demo", 60)
    return toys["demo"]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[list[Row]], Path]:
    def written(lines: list[Row], name: str = "split.csv") -> Path:
        write(tmp_path / name, lines)
        return tmp_path / name

    return written


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_split_is_what_a_file_says(ending: str, file: Callable[..., Path]) -> None:
    lines = listing()
    path = file(lines, f"split.{ending}")
    divisions = split_by(path)
    assert sorted(rows(divisions)) == sorted(lines)
    assert [d.fold for d in divisions] == ["0", "1", "2", "3"]
    write(path.with_name("again.csv"), rows(divisions))
    assert split_by(path.with_name("again.csv")) == divisions


def test_the_name_of_a_split_is_its_meaning(file: Callable[..., Path], tmp_path: Path) -> None:
    def name(path: Path) -> str:
        protocol = Protocol(split=str(path))
        return str(describe(corpus(), EMOTION, protocol, divide(corpus(), EMOTION, protocol))["split"])

    first = name(file(listing()))
    backwards = pd.DataFrame(listing()[::-1], columns=["path", "fold", "role"])
    backwards["path"] = [f"elsewhere/{i.replace('_', '-')}.flac" for i in backwards["path"]]
    backwards["role"] = backwards["role"].replace("dev", "Validation")
    backwards.to_csv(tmp_path / "other.csv", index=False)
    assert first.startswith("file+")
    assert name(tmp_path / "other.csv") == first
    swapped = [(i, fold, {"train": "dev", "dev": "train"}.get(role, role)) for i, fold, role in listing()]
    assert name(file(swapped, "swapped.jsonl")) != first
    own = divide(corpus(), EMOTION, Protocol())
    assert name(file(rows(own), "own.csv")) == "speakers", "a file that says what an own split says is that split"


MISTAKES: dict[str, tuple[Callable[[list[Row]], list[Row]], str]] = {
    "unknown id": (
        lambda t: [("U_99", "0", "train"), *t],
        "1 of its 41 names are not utterances of toy, such as 'U_99'",
    ),
    "other corpus": (lambda t: [(f"x{i}", f, r) for i, f, r in t], "all 40 names .* another corpus"),
    "train and test": (lambda t: [("U_00", "0", "train"), *t], "'U_00' stands in t[a-z]+ and in t[a-z]+ of fold '0'"),
    "doubled": (lambda t: [t[0], *t], "'U_00' stands twice in test of fold '0'"),
    "two names": (lambda t: [("wav/0/U-00.wav", "0", "test"), *t], "are both 'U_00'"),
    "two tests": (
        lambda t: [(i, f, "test" if (i, f) == ("U_00", "2") else r) for i, f, r in t],
        "'U_00' is a test item of the folds '0' and '2'",
    ),
    "no test": (lambda t: [(i, f, "train" if f == "1" and r == "test" else r) for i, f, r in t], "no test items"),
    "no train": (lambda t: [x for x in t if x[1:] != ("1", "train")], "fold '1' of toy has no train items"),
    "no dev": (lambda t: [(i, f, "train" if r == "dev" else r) for i, f, r in t], "no dev items .* --dev 0.2"),
    "strange role": (lambda t: [("U_00", "0", "tset"), *t], r"row 1 \('U_00'\) has the role 'tset'"),
    "no role": (lambda t: [("U_00", "0", ""), *t], "has the role ''. Expected train, dev, test, unlabelled"),
    "no id": (lambda t: [("", "0", "train"), *t], "row 1 has no id"),
    "no fold": (lambda t: [("U_00", "", "train"), *t], "row 1 has no fold"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_one_line(mistake: str, file: Callable[..., Path]) -> None:
    spoil, said = MISTAKES[mistake]
    with pytest.raises(SerbenchError, match=said) as told:
        split_by(file(spoil(listing())))
    assert "\n" not in str(told.value)


def test_files_that_are_no_splits(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,part\nU_00,train\n")
    (tmp_path / "b.jsonl").write_text('{"id": "U_00"\n')
    (tmp_path / "c.parquet").write_text("no parquet")
    (tmp_path / "d.csv").write_text("")
    said = {"a.csv": "has the columns name, part", "b.jsonl": "line 1 is no JSON object", "c.parquet": "can't be read"}
    said |= {
        "d.csv": "can't be read",
        "e.csv": "there is no such file",
        "f/g.txt": "expected a file that ends with .csv",
    }
    for name, text in said.items():
        with pytest.raises(SerbenchError, match=text):
            split_by(tmp_path / name)
    with pytest.raises(SerbenchError, match=r"unknown split of toy 'speaker'\. Did you mean 'speakers'"):
        divide(corpus(), EMOTION, Protocol(split="speaker"))
    with pytest.raises(SerbenchError, match=r"ends with .csv, .jsonl, .parquet"):
        write(tmp_path / "split.txt", listing())


def test_a_name_that_fits_two_items_is_refused(tmp_path: Path, file: Callable[..., Path]) -> None:
    table = corpus().utterances.rename(index={"U_00": "a/one", "U_01": "b/one"})
    one = replace(corpus(), utterances=table.assign(path=[f"{i}.wav" for i in table.index]))
    lines = [("one" if i == "U_00" else "b/one" if i == "U_01" else i, f, r) for i, f, r in listing()]
    with pytest.raises(SerbenchError, match="'one' may be a/one or b/one of toy"):
        split_by(file(lines), one)
    told_apart = [(i.replace("one", "a/one") if i == "one" else i, f, r) for i, f, r in lines]
    assert len(split_by(file(told_apart), one)) == 4


def test_a_partial_file_says_what_is_missing(file: Callable[..., Path], demo: Corpus) -> None:
    lines = [
        (i, f, r) for i, f, r in rows(divide(demo, demo.task("emotion"), Protocol())) if r != "train" or i[-1] != "1"
    ]
    whole = demo.items(demo.task("emotion"))
    setting = resolve(Request("linear", "demo", protocol=Protocol(split=str(file(lines)))))
    gone = len(whole) - len({i for i, _, _ in lines})
    assert gone
    assert f"the split leaves out {gone} of {len(whole)} items of 'emotion'" in "\n".join(setting.notes)
    assert any("tested in no fold" in note for note in setting.notes)


def test_emobox_folders_are_read_in_every_layout(tmp_path: Path) -> None:
    layouts = {"flat": "{c}_{r}_fold_{f}.jsonl", "corpus": "{c}/{c}_{r}_fold_{f}.jsonl"}
    layouts |= {"own": "data/{c}/fold_{f}/{c}_{r}_fold_{f}.jsonl"}
    for name, layout in layouts.items():
        for fold in range(4):
            for role in ("train", "valid", "test"):
                mine = [i for i, f, r in listing() if f == str(fold) and r == role.replace("valid", "dev")]
                path = tmp_path / name / layout.format(c="toy", r=role, f=fold + 1)
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = [
                    {"key": f"toy-{i}", "wav": f"downloads/toy/{i.replace('_', '-')}.wav", "emo": "x"} for i in mine
                ]
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        (tmp_path / name / "other_train_fold_1.jsonl").write_text('{"key": "other-1", "wav": "other/1.wav"}\n')
    read = [divide(corpus(), EMOTION, Protocol(split=f"emobox:{tmp_path / name}")) for name in layouts]
    assert read[0] == read[1] == read[2]
    assert [d.fold for d in read[0]] == [f"fold_{k}" for k in (1, 2, 3, 4)]
    assert [d.test for d in read[0]] == [tuple(f"U_{i:02}" for i in range(k, 40, 4)) for k in range(4)]
    with pytest.raises(SerbenchError, match=r"no list such as absent_train_fold_1.jsonl .* It has: toy"):
        given_split(f"emobox:{tmp_path / 'corpus'}", "absent")


EMOBOX_NAMES = {
    "crema-d": ("1052_WSI_ANG_XX", "AudioWAV/1052_WSI_ANG_XX.wav", "downloads/cremad/AudioWAV/1052_WSI_ANG_XX.wav"),
    "iemocap": ("Ses01F_impro04_F000", "Session1/x.wav", "downloads/iemocap/Session1/y/Ses01F_impro04_F000.wav"),
    "meld": (
        "test/dia0_utt0",
        "output_repeated_splits_test/dia0_utt0.mp4",
        "a/output_repeated_splits_test/dia0_utt0.mp4",
    ),
    "msp-podcast": ("MSP-PODCAST_0001_0008", "Audios/1.wav", "downloads/msppodcast/Audio/MSP-PODCAST_0001_0008.wav"),
    "savee": ("JE_n23", "AudioData/JE/n23.wav", "downloads/savee/JE_n23.wav"),
    "esd": ("0005_000001", "0005/Neutral/0005_000001.wav", "downloads/esd/0005/Neutral/0005_000001.wav"),
    "jl-corpus": ("male2_angry_12a_2", "Raw JL corpus (x)/male2_angry_12a_2.wav", "downloads/j/male2_angry_12a_2.wav"),
    "urdu": ("SM5_F63_N091", "Neutral/SM5_F63_N091.wav", "downloads/urdu/Neutral/SM5_F63_N091.wav"),
    "shemo": ("F01S01", "female/F01S01.wav", "downloads/shemo/female/F01S01.wav"),
    "emovo": ("gio-f2-b2", "f2/gio-f2-b2.wav", "downloads/emovo/f2/gio-f2-b2.wav"),
}
"""Corpus -> id and path here, and the path in EmoBox's list."""


@pytest.mark.parametrize("name", EMOBOX_NAMES)
def test_names_of_emobox_are_found_in_other_corpora(name: str, tmp_path: Path) -> None:
    item, path, listed = EMOBOX_NAMES[name]
    folder = name.replace("-", "")
    near = [f"{item}0", "dev/dia0_utt0", "SU_x"]
    rows_ = [{"id": item, "path": path}, *({"id": i, "path": f"elsewhere/{i}.mp4"} for i in near)]
    table = make_table({**row, "speaker": "s", "emotion": "anger"} for row in rows_)
    one = Corpus(name, "", Path("/nowhere"), table, (EMOTION,), {"all": rotation("speaker", ["s"])})
    (tmp_path / folder).mkdir()
    for role, lines in {"train": [f"x/{near[0]}.wav"], "test": [listed]}.items():
        text = "".join(json.dumps({"key": "k", "wav": line}) + "\n" for line in lines)
        (tmp_path / folder / f"{folder}_{role}_fold_1.jsonl").write_text(text)
    (division,) = divide(one, EMOTION, Protocol(split=f"emobox:{tmp_path}"), needed=("train", "test"))
    assert (division.train, division.test) == ((near[0],), (item,))


def test_the_real_emobox_folds_share_all_speakers_of_emodb(test_data: Path) -> None:
    real = emodb.load(test_data / "emodb")
    task, protocol = real.task("emotion"), Protocol(split=f"emobox:{test_data / 'emobox_folds'}", dev="0.2:utterance")
    divisions = divide(real, task, protocol)
    assert [len(d.test) for d in divisions] == [107] * 5
    assert sorted(i for d in divisions for i in d.test) == sorted(map(str, real.utterances.index))
    for division in divisions:
        trained = set(real.utterances.loc[[*division.train, *division.dev], "speaker"])
        assert trained == set(real.utterances.loc[list(division.test), "speaker"]) == set(emodb.SPEAKERS)
        assert len(division.dev) == pytest.approx(0.2 * 428, abs=4)


def test_the_real_emobox_folds_of_ravdess_are_by_actor(test_data: Path) -> None:
    folder = test_data / "emobox_folds"
    names = {}
    for path in sorted((folder / "ravdess").glob("*_test_fold_*.jsonl")):
        for line in path.read_text().splitlines():
            names[json.loads(line)["wav"].rsplit("/", 1)[-1].removesuffix(".wav")] = path.stem[-1]
    table = make_table(
        {"id": i, "path": f"Actor_{i[-2:]}/{i}.wav", "speaker": i[-2:], "emotion": ("anger", "neutral")[k % 2]}
        for k, i in enumerate(names)
    )
    mine = Corpus("ravdess", "", Path("/nowhere"), table, (EMOTION,), {"all": rotation("speaker", ["01", "02"])})
    divisions = divide(mine, EMOTION, Protocol(split=f"emobox:{folder}", dev="0.2"))
    assert [len(d.test) for d in divisions] == [240] * 6
    assert len(names) == 1440
    for division in divisions:
        speakers = [set(table.loc[list(ids), "speaker"]) for ids in (division.train, division.dev, division.test)]
        assert [len(s) for s in speakers] == [16, 4, 4]
        assert len(set.union(*speakers)) == 24
        assert all(names[i] == division.fold[-1] for i in division.test)


@pytest.fixture
def demo_split(tmp_path: Path, demo: Corpus) -> Path:
    """A split of the demo corpus that shares speakers: a third of the items each, in two folds."""
    ids = list(map(str, demo.items(demo.task("emotion")).index))
    np.random.default_rng(0).shuffle(ids)
    roles = {"0": ("test", "dev", "train"), "1": ("dev", "test", "train")}
    lines = [(i, fold, parts[k % 3]) for fold, parts in roles.items() for k, i in enumerate(ids)]
    write(tmp_path / "demo.csv", lines)
    return tmp_path / "demo.csv"


def test_a_run_is_repeated_without_the_file(demo_split: Path, tmp_path: Path) -> None:
    asked = {"results": tmp_path / "results", "trials": 1, "protocol": Protocol(split=str(demo_split))}
    with pytest.raises(SerbenchError, match=r"speakers .* stand both in training and in test"):
        grid.run("chance", "demo", **asked)
    (run,) = grid.run("chance", "demo", **asked, allow_leak=True)
    assert run.spec["labels"][0] == "leak:speaker"
    assert "labels:leak:speaker" in run.signature
    assert run.spec["protocol"]["split"].startswith("file+")
    assert str(tmp_path) not in str(run.spec["protocol"])
    assert str(demo_split) in run.spec["command"]
    packed = export_run(run, tmp_path / "shared.zip")
    with zipfile.ZipFile(packed) as archive:
        assert all(str(tmp_path).encode() not in archive.read(name) for name in archive.namelist())
    demo_split.unlink()
    (again,) = grid.from_record(run.path, tmp_path / "again")
    assert again.run_id == run.run_id
    pd.testing.assert_frame_equal(again.predictions(), run.predictions())


def test_processes_and_nodes_need_no_file(demo_split: Path, tmp_path: Path) -> None:
    """The request that is sent to them holds what the file lists."""
    protocol = Protocol(split=str(demo_split))
    (request, *_) = Grid("chance", "demo", protocol=protocol, allow_leak=True).requests()
    plan = make_plan([request], Corpora())
    text = plan.text()
    demo_split.unlink()
    assert read_plan(text, Corpora()).setting.divisions == plan.setting.divisions
    assert Request.from_dict(json.loads(text)[0][0]) == request


def test_a_file_may_name_the_tested_items_across_corpora(demo_split: Path) -> None:
    (place,) = Grid("chance", "emodb", test_dataset="demo", test_split=str(demo_split)).tested()
    assert place.split == str(demo_split)
    assert place.listed == given_split(str(demo_split), "demo")[1]


def test_every_cell_of_a_matrix_takes_its_own_lists(toys: dict[str, Corpus], tmp_path: Path) -> None:
    """Two corpora in one folder of lists: within each, and trained on the one and tested on the other."""
    for name in ("alpha", "gamma"):
        ids = list(map(str, toys[name].items(toys[name].task("emotion")).index))
        for fold in range(3):
            for role, keep in (("train", False), ("test", True)):
                mine = [i for i in ids if (int(i[-3:]) % 7 % 3 == fold) == keep]
                lines = [json.dumps({"key": f"{name}-{i}", "wav": f"x/{i}.wav"}) for i in mine]
                (tmp_path / f"{name}_{role}_fold_{fold}.jsonl").write_text("\n".join(lines))
    protocol = Protocol(split=f"emobox:{tmp_path}", dev="0.25")
    asked = {"task": "emotion", "protocol": protocol, "trials": 1, "allow_leak": True, "results": tmp_path / "r"}
    runs = grid.run("chance", ["alpha", "gamma"], test_dataset=["alpha", "gamma"], **asked)
    named = {run.spec["dataset"]["name"]: run.spec["protocol"] for run in runs}
    assert list(named) == ["alpha", "alpha>gamma", "gamma>alpha", "gamma"]
    assert named["alpha>gamma"]["split"] == named["alpha"]["split"] != named["gamma"]["split"]
    assert named["alpha>gamma"]["test_split"] == "speakers"
    assert [one["dev"] for one in named.values()] == ["0.25:speaker"] * 2 + ["0.25:utterance"] * 2, (
        "four speakers, three"
    )
    (crossed,) = grid.run("chance", "alpha", test_dataset="gamma", test_split=f"emobox:{tmp_path}", **asked)
    assert crossed.spec["protocol"]["test_split"] == named["gamma"]["split"]
    assert not crossed.finished(1, crossed.folds)
