"""The corpus doctor: every kind of finding on generated files, and the real EMO-DB."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.corpora import doctor
from serbench.benchmarks.corpora.findings import count
from serbench.datasets import emodb
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import OFFICIAL, Corpus, make_table, rotation
from serbench.datasets.schema.task import Task
from serbench.datasets.table import reader as table

RATE = 16000


def noise(seed: int, seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-level, level, int(RATE * seconds)).astype(np.float32)


def write(path: Path, signal: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal, rate, subtype=subtype)
    return path


def corpus_of(root: Path, n: int = 6, extra: dict[str, list[object]] | None = None, **fields: object) -> Corpus:
    """n sound files a0.wav ... of n speakers, three partitions, two classes; `extra` are further columns."""
    for i in range(n):
        write(root / f"a{i}.wav", noise(i))
    data = pd.DataFrame(
        {
            "id": [f"u{i}" for i in range(n)],
            "path": [f"a{i}.wav" for i in range(n)],
            "speaker": [f"s{i}" for i in range(n)],
            "partition": [("train", "dev", "test")[i % 3] for i in range(n)],
            "emotion": [("anger", "sadness")[i % 2] for i in range(n)],
            **(extra or {}),
        }
    )
    tasks = (Task("emotion", "classification", ("emotion",), ("anger", "sadness")),)
    given = {"tasks": tasks, "splits": {"official": (OFFICIAL,)}, **fields}
    return Corpus("made", "", root, make_table(data), **given)  # type: ignore[arg-type]


def found(findings: pd.DataFrame, kind: str) -> list[tuple[str, str, str]]:
    """(severity, id, path) of each finding of a kind."""
    rows = findings[findings["kind"] == kind]
    return list(zip(rows["severity"], rows["id"], rows["path"], strict=True))


def only(findings: pd.DataFrame, kind: str) -> pd.Series:
    """The one finding that there is."""
    assert findings["kind"].tolist() == [kind], findings.to_string()
    return findings.iloc[0]


def test_a_sound_corpus_has_no_findings(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, expected={"utterances": 6, "speakers": 6})
    findings = doctor.check(corpus)
    assert findings.empty
    assert list(findings) == ["severity", "kind", "id", "path", "detail"]
    assert findings.attrs == {"files": 6, "readable": 6, "rate": RATE, "seconds": 6.0}
    lines = doctor.summary(corpus, findings)
    assert lines == ["made: 6 utterances, 6 of 6 files readable, 0.1 min at 16000 Hz", "found: nothing wrong"]


def test_counts(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, extra={"dialogue": ["d1", "d1", "d2", None, "d2", "d3"]})
    expected = {
        "utterances": 6,
        "files": 6,
        "speakers": 6,
        "dialogues": 3,
        "recordings": 0,
        "train": 2,
        "unlabelled": 0,
        "partition=dev": 2,
        "emotion=anger": 3,
        "emotion=anger,partition=train": 1,
        "dialogue=": 1,
        "speakers@partition=test": 2,
        "dialogues@partition=train": 1,
        "utterances@emotion=sadness": 3,
        "files@dialogue=d1": 2,
        "train@emotion=anger": 1,
        "recordings@partition=dev": 0,
        "task:emotion": 6,
        "task:emotion@partition=train": 2,
    }
    assert {key: count(corpus, key) for key in expected} == expected
    assert doctor.check(dataclasses.replace(corpus, expected=expected)).empty
    wrong = dataclasses.replace(corpus, expected={"emotion=anger": 4, "speakers": 6, "hours": 7, "mood=calm": 1})
    details = doctor.check(wrong)["detail"].tolist()
    assert details[0] == "emotion=anger: 3 found, 4 published"
    assert "'hours' of made is not understood" in details[1]
    assert "'mood=calm' names no column" in details[2]
    with pytest.raises(SerbenchError, match="'hours' of made is not understood"):
        count(corpus, "hours")


def test_missing_empty_unreadable_and_pointer_files(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    (tmp_path / "a0.wav").unlink()
    (tmp_path / "a1.wav").write_bytes(b"")
    (tmp_path / "a2.wav").write_bytes(b"this is not sound")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 32044\n"
    (tmp_path / "a3.wav").write_text(pointer)
    write(tmp_path / "a4.wav", np.zeros(0))
    findings = doctor.check(corpus)
    assert found(findings, "missing") == [("error", "u0", "a0.wav")]
    assert found(findings, "empty") == [("error", "u1", "a1.wav")]
    assert found(findings, "unreadable") == [("error", "u2", "a2.wav"), ("error", "u4", "a4.wav")]
    assert found(findings, "lfs-pointer") == [("error", "u3", "a3.wav")]
    assert len(findings) == 5
    assert findings.attrs["readable"] == 1


def test_a_folder_in_the_place_of_a_file_and_a_forbidden_file_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpus_of(tmp_path)
    (tmp_path / "a0.wav").unlink()
    (tmp_path / "a0.wav").mkdir()
    real = soundfile.SoundFile

    def moody(path: Path, *rest: object) -> object:
        if Path(path).name == "a1.wav":
            raise MemoryError("no room")
        return real(path, *rest)

    monkeypatch.setattr(soundfile, "SoundFile", moody)
    findings = doctor.check(corpus)
    assert Counter(findings["kind"]) == {"missing": 1, "unreadable": 1}
    assert findings["detail"].tolist()[1] == "MemoryError: no room"


def test_a_name_in_another_case_is_explained(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    (tmp_path / "a0.wav").rename(tmp_path / "A0.WAV")
    findings = doctor.check(corpus)
    assert findings["kind"].tolist() == ["missing", "orphan"]
    assert "A0.WAV is: the case of letters differs" in findings["detail"][0]


def test_orphans_but_no_dot_files_and_no_other_files(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    for name in ("more/b.wav", "c.FLAC", "d.ogg"):
        write(tmp_path / name, noise(9))
    for name in ("._a0.wav", ".git/x.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"stub")
    (tmp_path / "labels.csv").write_text("path\n")
    findings = doctor.check(corpus)
    assert found(findings, "orphan") == [("warning", "", p) for p in ("c.FLAC", "d.ogg", "more/b.wav")]
    assert len(findings) == 3


def test_sound_that_is_distributed_and_in_no_row_is_no_orphan(tmp_path: Path) -> None:
    corpus = dataclasses.replace(corpus_of(tmp_path), further=("dialog*/wav/*", "*/other_take_*"))
    for name in ("Dialog/WAV/whole.wav", "x/y/other_take_1.flac", "x/y/mine.flac"):
        write(tmp_path / name, noise(9))
    assert found(doctor.check(corpus), "orphan") == [("warning", "", "x/y/mine.flac")]


@pytest.mark.parametrize(("share", "seen"), [(0.0005, False), (0.002, True)])
def test_clipping_is_a_share_of_samples(tmp_path: Path, share: float, seen: bool) -> None:
    corpus = corpus_of(tmp_path)
    signal = noise(0)
    signal[: int(len(signal) * share)] = 1.0  # the largest 16-bit value after writing
    write(tmp_path / "a0.wav", signal)
    findings = doctor.check(corpus)
    if seen:
        row = only(findings, "clipped")
        assert (row["severity"], row["id"]) == ("warning", "u0")
        assert row["detail"].startswith("0.20%")
    else:
        assert findings.empty


def test_silence_by_peak(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    write(tmp_path / "a0.wav", np.zeros(RATE))
    write(tmp_path / "a1.wav", noise(1, level=0.0009))
    write(tmp_path / "a2.wav", noise(2, level=0.0011))  # -59.2 dBFS
    findings = doctor.check(corpus)
    assert found(findings, "silent") == [("warning", "u0", "a0.wav"), ("warning", "u1", "a1.wav")]
    assert findings["detail"].tolist() == ["the peak is -inf dBFS", "the peak is -61 dBFS"]


def test_duration_limits_of_files_and_segments(tmp_path: Path) -> None:
    nothing = float("nan")
    extra = {"start": [nothing, nothing, 0.5, 0.2, 0.9, 2.0], "end": [nothing, nothing, 0.6, nothing, 1.3, 2.5]}
    corpus = corpus_of(tmp_path, extra=extra)
    write(tmp_path / "a0.wav", noise(0, 0.2))
    write(tmp_path / "a1.wav", noise(1, 31))
    findings = doctor.check(corpus)
    assert [i for _, i, _ in found(findings, "too-short")] == ["u0", "u2"]
    assert [i for _, i, _ in found(findings, "too-long")] == ["u1"]
    assert found(findings, "outside") == [("error", "u5", "a5.wav"), ("warning", "u4", "a4.wav")]
    assert len(findings) == 5
    limits = doctor.Limits(shortest_seconds=0, longest_seconds=60, segment_seconds=5)
    assert doctor.check(corpus, limits=limits).empty
    with pytest.raises(SerbenchError, match=r"limits\.clipped_share"):
        doctor.check(corpus, limits=doctor.Limits(clipped_share=2))


def test_recordings_may_be_long_and_are_looked_at(tmp_path: Path) -> None:
    write(tmp_path / "long.wav", noise(50, 40))
    recordings = make_table([{"id": "r0", "path": "long.wav"}, {"id": "r1", "path": "gone.wav"}])
    corpus = corpus_of(tmp_path, recordings=recordings, expected={"recordings": 2, "files": 8})
    assert found(doctor.check(corpus), "missing") == [("error", "r1", "gone.wav")]
    assert len(doctor.check(corpus)) == 1


def test_stereo_and_odd_rates(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    write(tmp_path / "a0.wav", np.stack([noise(0), noise(1)], axis=1))
    write(tmp_path / "a1.wav", noise(1), rate=8000)
    findings = doctor.check(corpus)
    assert found(findings, "stereo") == [("note", "u0", "a0.wav")]
    assert found(findings, "odd-rate") == [("warning", "u1", "a1.wav")]
    assert len(findings) == 2
    assert findings.attrs["rate"] == RATE


def test_a_cut_off_file_and_samples_that_are_no_numbers(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    whole = (tmp_path / "a0.wav").read_bytes()
    (tmp_path / "a0.wav").write_bytes(whole[:-1000])
    signal = noise(1)
    signal[5] = np.nan
    write(tmp_path / "a1.wav", signal, subtype="FLOAT")
    streamed = bytearray((tmp_path / "a2.wav").read_bytes())
    streamed[40:44] = b"\xff\xff\xff\xff"  # length unknown, as programs write it that stream
    (tmp_path / "a2.wav").write_bytes(streamed)
    findings = doctor.check(corpus)
    assert found(findings, "truncated") == [("error", "u0", "a0.wav")]
    assert findings["detail"][0].startswith("1000 bytes")
    assert found(findings, "non-finite") == [("error", "u1", "a1.wav")]
    assert len(findings) == 2


def test_duplicates_by_samples_in_any_lossless_format(tmp_path: Path) -> None:
    extra: dict[str, list[object]] = {
        "path": ["a0.wav", "a1.flac", "a2.wav", "a3.wav", "a4.wav", "a5.wav"],
        "speaker": ["s0"] * 6,
        "partition": ["train", "train", "test", "train", "dev", "train"],
        "emotion": ["anger", "anger", "anger", "anger", "anger", "sadness"],
    }
    corpus = corpus_of(tmp_path, extra=extra, shared=("speaker",))
    (tmp_path / "a1.wav").unlink()
    signal, _ = soundfile.read(tmp_path / "a0.wav", dtype="int16")
    write(tmp_path / "a1.flac", signal)  # the same samples in another format
    write(tmp_path / "a2.wav", signal, subtype="PCM_24")  # and width, in another partition
    write(tmp_path / "a5.wav", signal)  # with another label
    write(tmp_path / "a3.wav", signal, rate=16001)  # the same numbers, another sound
    findings = doctor.check(corpus)
    assert found(findings, "duplicate") == [
        ("error", "u2", "a2.wav"),
        ("error", "u5", "a5.wav"),
        ("warning", "u1", "a1.flac"),
    ]
    details = findings[findings["kind"] == "duplicate"]["detail"].tolist()
    assert details == [
        "the same samples as a0.wav; they are in test and train",
        "the same samples as a0.wav; emotion is anger there and sadness here",
        "the same samples as a0.wav",
    ]


def test_two_rows_about_one_segment(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, extra={"path": ["a0.wav", "a0.wav", *(f"a{i}.wav" for i in range(2, 6))]})
    (tmp_path / "a1.wav").unlink()
    row = only(doctor.check(corpus), "duplicate")
    assert (row["id"], row["detail"]) == ("u1", "another row is about the same segment")


def test_labels_off_the_scale(tmp_path: Path) -> None:
    extra: dict[str, list[object]] = {"arousal": [1, 7, 7.5, None, 0.9, 4]}
    corpus = corpus_of(tmp_path, extra=extra, scales={"arousal": (1.0, 7.0)})
    findings = doctor.check(corpus)
    assert found(findings, "off-scale") == [("error", "u2", "a2.wav"), ("error", "u4", "a4.wav")]
    assert findings["detail"][0] == "arousal is 7.5, the scale is 1..7"


def test_traces_off_the_scale_or_unreadable(tmp_path: Path) -> None:
    def trace(item: str) -> pd.DataFrame:
        if item == "r1":
            raise SerbenchError("line 3 can't be read.")
        return pd.DataFrame({"time": [0.0, 0.1, 0.2, 0.3], "valence": [0.0, -1.5, np.nan, 1.2]})

    for i in range(2):
        write(tmp_path / f"r{i}.wav", noise(20 + i))
    task = Task("v", "continuous", ("valence",), scales={"valence": (-1.0, 1.0)}, frame_seconds=0.1)
    recordings = make_table([{"id": f"r{i}", "path": f"r{i}.wav"} for i in range(2)])
    corpus = corpus_of(tmp_path, tasks=(task,), recordings=recordings, trace_source=trace)
    findings = doctor.check(corpus)
    assert found(findings, "off-scale") == [("error", "r0", "r0.wav")]
    assert findings["detail"].tolist()[0] == "2 of 4 frames of valence are outside the scale -1..1"
    assert found(findings, "labels-unreadable") == [("error", "r1", "r1.wav")]


def test_recordings_with_hidden_labels_are_no_error(tmp_path: Path) -> None:
    def trace(item: str) -> pd.DataFrame:
        if item == "r1":
            raise SerbenchError("the labels of r1 were never given out.")
        return pd.DataFrame({"time": [0.0, 0.1], "valence": [0.0, 0.5]})

    for i in range(2):
        write(tmp_path / f"r{i}.wav", noise(20 + i))
    where = {"labels": ("given",)}
    task = Task("v", "continuous", ("valence",), where=where, scales={"valence": (-1.0, 1.0)}, frame_seconds=0.1)
    rows = [{"id": f"r{i}", "path": f"r{i}.wav", "labels": ("given", "hidden")[i]} for i in range(2)]
    corpus = corpus_of(tmp_path, tasks=(task,), recordings=make_table(rows), trace_source=trace)
    assert found(doctor.check(corpus), "labels-unreadable") == []


@pytest.mark.parametrize(("shared", "severity"), [((), "error"), (("speaker",), "note")])
def test_speaker_overlap_between_partitions(tmp_path: Path, shared: tuple[str, ...], severity: str) -> None:
    extra: dict[str, list[object]] = {
        "speaker": ["A", "B", "A", "C", "D", "E"],
        "partition": ["train", "dev", "test", "unlabelled", "dev", "train"],
    }
    row = only(doctor.check(corpus_of(tmp_path, extra=extra, shared=shared)), "speaker-overlap")
    assert row["severity"] == severity
    assert row["detail"] == "partitions test and train share 1 speakers: A"
    extra["speaker"] = ["A", "B", "F", "A", "A", "B"]  # dev shares with train and with the pool; the pool with train
    findings = doctor.check(corpus_of(tmp_path, extra=extra))
    assert findings["severity"].tolist() == ["warning"] * 2
    assert findings["detail"].tolist() == [
        "partitions dev and train share 2 speakers: A, B",
        "partitions dev and unlabelled share 1 speakers: A",
    ]


def test_speaker_overlap_of_folds_and_unknown_speakers(tmp_path: Path) -> None:
    extra: dict[str, list[object]] = {
        "partition": [None] * 6,
        "fold": ["1", "2", "3"] * 2,
        "speaker": ["A", "B", "C", "B", None, "C"],
    }
    splits = {"folds": rotation("fold", ["1", "2", "3"])}
    findings = doctor.check(corpus_of(tmp_path, extra=extra, splits=splits))
    assert findings["kind"].tolist() == ["speaker-overlap", "speaker-unknown"]
    assert findings["detail"][0] == "training and test of the split folds share 1 speakers: B"
    assert findings["detail"][1].startswith("1 of 6 utterances have no speaker")


def test_known_unusable_items_are_notes(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, known_unusable=frozenset({"u0", "u9"}))
    (tmp_path / "a0.wav").unlink()
    findings = doctor.check(corpus)
    assert set(findings["severity"]) == {"note"}
    assert found(findings, "missing") == [("note", "u0", "a0.wav")]
    assert found(findings, "known-unusable") == [("note", "u0", "a0.wav"), ("note", "u9", "")]


def test_a_path_out_of_the_root_is_a_finding(tmp_path: Path) -> None:
    write(tmp_path / "secret.wav", noise(77))
    corpus = corpus_of(tmp_path / "root", extra={"path": ["../secret.wav", *(f"a{i}.wav" for i in range(1, 6))]})
    findings = doctor.check(corpus)
    assert found(findings, "outside") == [("error", "u0", "../secret.wav")]
    assert findings.attrs["readable"] == 5


def test_clips_are_decoded_first(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, extra={"path": ["a0.clip", "bad.clip", *(f"a{i}.wav" for i in range(2, 6))]})
    for old, new in (("a0.wav", "a0.clip"), ("a1.wav", "bad.clip")):
        (tmp_path / old).rename(tmp_path / new)
    (tmp_path / "more.clip").write_bytes(b"x")

    def decode(path: Path) -> Path:
        if path.name == "bad.clip":
            raise SerbenchError("the clip can't be decoded.")
        return path

    findings = doctor.check(dataclasses.replace(corpus, audio_source=decode))
    assert found(findings, "unreadable") == [("error", "u1", "bad.clip")]
    assert found(findings, "orphan") == [("warning", "", "more.clip")]


def test_threads_and_progress_change_nothing(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, n=12)
    (tmp_path / "a3.wav").write_bytes(b"x")
    shutil.copy(tmp_path / "a0.wav", tmp_path / "a7.wav")
    calls: list[tuple[int, int, float]] = []
    one = doctor.check(corpus, progress=lambda *call: calls.append(call))
    pd.testing.assert_frame_equal(one, doctor.check(corpus, jobs=3))
    assert [c[:2] for c in calls] == [(i, 12) for i in range(1, 13)]
    assert calls[-1][2] == one.attrs["seconds"] == 11.0


def test_the_table_is_complete_as_csv_and_short_on_screen(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, n=12, notes=("a remark",))
    for i in range(12):
        (tmp_path / f"a{i}.wav").unlink()
    write(tmp_path / 'stray, "odd".wav', noise(1))
    findings = doctor.check(corpus)
    findings.to_csv(tmp_path / "findings.csv", index=False)
    again = pd.read_csv(tmp_path / "findings.csv", keep_default_na=False)
    assert again.to_numpy().tolist() == findings.to_numpy().tolist()
    assert len(again) == 13
    lines = doctor.summary(corpus, findings)
    assert "error    missing: 12" in lines
    assert "         u0  a0.wav  the file is not there" in lines
    assert "         ... and 9 more" in lines
    assert any("is this the right --root" in line for line in lines)
    assert "about the corpus: a remark" in lines
    assert lines[-1] == "found: 12 errors, 1 warning"
    assert len(lines) < 15


def test_strict_ends_with_status_1_when_something_is_wrong(tmp_path: Path) -> None:
    for i in range(6):
        write(tmp_path / f"a{i}.wav", noise(i))
    rows = "".join(f"a{i}.wav,{('anger', 'sadness')[i % 2]},s{i}\n" for i in range(6))
    (tmp_path / "labels.csv").write_text("path,label,speaker\n" + rows)
    command = ["check", "table", "--root", str(tmp_path)]
    assert CliRunner().invoke(app, [*command, "--strict"]).exit_code == 0
    (tmp_path / "a0.wav").unlink()
    assert CliRunner().invoke(app, command).exit_code == 0
    assert CliRunner().invoke(app, [*command, "--strict"]).exit_code == 1


def test_a_table_of_a_user(tmp_path: Path) -> None:
    text = "path,label,speaker,arousal,scale\n" + "".join(f"a{i}.wav,{'xy'[i % 2]},s{i},{i},1..4\n" for i in range(6))
    for i in range(6):
        write(tmp_path / f"a{i}.wav", noise(i))
    (tmp_path / "labels.csv").write_text(text)
    findings = doctor.check(table.load(tmp_path))
    assert found(findings, "off-scale") == [("error", "a0.wav", "a0.wav"), ("error", "a5.wav", "a5.wav")]
    assert len(findings) == 2


def test_the_real_emodb_is_in_order(test_data: Path) -> None:
    corpus = emodb.load(test_data / "emodb")
    findings = doctor.check(corpus)
    assert findings.empty, findings.to_string()
    assert findings.attrs["files"] == findings.attrs["readable"] == 535
    assert findings.attrs["rate"] == 16000
    assert findings.attrs["seconds"] / 60 == pytest.approx(24.8, abs=0.05)


def test_damage_to_the_real_emodb_is_found(test_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "emodb"
    (root / "wav").mkdir(parents=True)
    for path in sorted((test_data / "emodb" / "wav").glob("03*.wav")):
        shutil.copyfile(path, root / "wav" / path.name)
    shutil.copytree(test_data / "emodb" / "silb", root / "silb")
    shutil.copyfile(root / "wav" / "03a01Fa.wav", root / "wav" / "03a01Nc.wav")
    findings = doctor.check(emodb.load(root))
    assert Counter(findings["kind"]) == {"missing": 535 - 49, "duplicate": 1}
    assert "raw_emotion is F there and N here" in findings[findings["kind"] == "duplicate"]["detail"].iloc[0]
