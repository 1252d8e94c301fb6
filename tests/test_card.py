"""The protocol card: everything that must be said beside a score."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.corpora.card import METRICS, lines
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.datasets import emodb
from serbench.datasets.iemocap import reader as iemocap
from serbench.datasets.meld import reader as meld
from serbench.datasets.mocks import iemocap as mock_iemocap, msp_podcast as mock_msp_podcast, sewa as mock_sewa
from serbench.datasets.msp_podcast import reader as msp_podcast
from serbench.datasets.schema.corpus import Corpus
from serbench.datasets.sewa import reader as sewa

FOUR = ("anger", "happiness", "neutral", "sadness")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("iemocap")
    turns = mock_iemocap.plan(100, 0)
    mock_iemocap.write_labels(root, turns)
    return iemocap.load(root)


def card(corpus: Corpus, task: str, protocol: Protocol | None = None) -> list[str]:
    return list(lines(corpus, corpus.task(task), protocol or Protocol()))


def test_classes_merges_and_what_is_dropped(corpus: Corpus) -> None:
    said = card(corpus, "emotion")
    codes = corpus.utterances["raw_emotion"].value_counts()
    happy, excited = int(codes["hap"]), int(codes["exc"])
    classes = next(line for line in said if line.startswith("classes: "))
    assert f"anger {codes['ang']}" in classes
    assert f"happiness {happy + excited}" in classes
    assert f"  - happiness: {happy + excited} = excitement {excited} + happiness {happy}" in said
    dropped = next(line for line in said if line.startswith("  - dropped: "))
    assert f"frustration {codes['fru']}" in dropped
    assert f"no label {codes['xxx']}" in dropped


def test_counts_and_speakers_of_every_fold(corpus: Corpus) -> None:
    said = card(corpus, "emotion")
    items = corpus.items(corpus.task("emotion"))
    for fold in corpus.folds():
        role = fold.assign(items)
        parts = [
            f"{name} {int(role.eq(name).sum())} ({items.loc[role.eq(name), 'speaker'].nunique()} speakers)"
            for name in ("train", "dev", "test")
        ]
        assert f"  fold {fold.name}: {', '.join(parts)}" in said
        at = said.index(f"  fold {fold.name}: {', '.join(parts)}")
        for line, name in enumerate(("train", "dev", "test"), at + 1):
            met = items.loc[role.eq(name), "emotion"].replace("excitement", "happiness").value_counts()
            classes = ", ".join(f"{label} {met.get(label, 0)}" for label in FOUR)
            assert said[line] == f"    {name}: {classes}"
    cut = next(line for line in said if line.startswith("  test items per subset: "))
    assert sum(map(int, cut.partition(": ")[2].split(", "))) == len(items)
    assert "protocol 4x5: split 'leave-one-session-out', 4 test subsets, seed 0" in said


def test_counts_per_partition_and_class_of_the_real_meld(test_data: Path) -> None:
    said = card(meld.load(test_data / "meld_csv"), "emotion")
    assert (
        "  partition train: 9989 utterances, 9989 in the task (260 speakers): anger 1109, disgust 271, fear 268, "
        "happiness 1743, neutral 4710, sadness 683, surprise 1205"
    ) in said
    order = [line.split()[1] for line in said if line.startswith("  partition ")]
    assert order == ["train:", "dev:", "test:"]
    assert not any("published counts" in line for line in said)


def test_partitions_that_no_task_takes_are_counted_too(tmp_path: Path) -> None:
    mock_msp_podcast.write_labels(tmp_path, mock_msp_podcast.plan(80, "1.12", 0), "1.12")
    (tmp_path / "Unlabelled").mkdir()
    (tmp_path / "Unlabelled/MSP-PODCAST_0900_0001.wav").write_bytes(b"")
    corpus = msp_podcast.load(tmp_path)
    said = card(corpus, "emotion")
    lines_ = [line for line in said if line.startswith("  partition ")]
    assert [line.split()[1] for line in lines_] == ["train:", "dev:", "test1:", "test2:", "test3:", "unlabelled:"]
    assert lines_[4] == "  partition test3: 4 utterances, 0 in the task"
    assert lines_[5] == "  partition unlabelled: 1 utterances, 0 in the task"
    disagreed = int(corpus.utterances["raw_emotion"].eq("X").sum())
    dropped = next(line for line in said if line.startswith("  - dropped: "))
    assert f"no label {disagreed + 4}," in dropped, "no agreement and hidden, but not the unlabelled pool"
    assert any("published counts are not met (utterances: 81 found, 207137 published)" in line for line in said)


def test_recordings_of_a_time_continuous_corpus_are_counted(tmp_path: Path) -> None:
    mock_sewa.write(tmp_path, release="2017", utterances=36)
    said = card(sewa.load(tmp_path), "traces")
    assert "  partition train: 6 recordings, 6 in the task (6 speakers)" in said
    assert "  partition test: 2 recordings, 0 in the task" in said


@pytest.mark.parametrize(("task", "kind"), [("emotion", "classification"), ("attributes", "regression")])
def test_the_metric_is_defined(corpus: Corpus, task: str, kind: str) -> None:
    assert f"metric: {METRICS[kind]}" in card(corpus, task)


def test_attributes_have_their_scales(corpus: Corpus) -> None:
    assert "targets: arousal on 1 .. 5, valence on 1 .. 5, dominance on 1 .. 5" in card(corpus, "attributes")


def test_problems_licence_and_citation(corpus: Corpus) -> None:
    said = card(corpus, "emotion", Protocol(split="leave-one-speaker-out"))
    problems = said[said.index("known problems:") :]
    assert any("sessions stand in training and in test" in line for line in problems)
    assert all(f"  - {note}" in problems for note in corpus.notes)
    assert f"licence: {corpus.licence}" in said
    assert f"cite: {corpus.citation}" in said
    assert f"homepage: {corpus.homepage}" in said


def test_repeated_sentences_and_missing_dialogues_are_problems(test_data: Path) -> None:
    said = card(emodb.load(test_data / "emodb"), "emotion")
    assert any("transcripts stand in training and in test" in line for line in said)
    assert any("no dialogue context" in line for line in said)
    counts = {"anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "neutral": 79, "sadness": 62}
    assert "classes: " + ", ".join(f"{label} {n}" for label, n in counts.items()) in said


def test_the_command_prints_the_card_of_a_table(tmp_path: Path) -> None:
    rows = [
        {
            "path": f"{i}.wav",
            "speaker": f"s{i}",
            "partition": ("train", "dev", "test")[i % 3],
            "emotion": ("anger", "neutral")[i // 3 % 2],
        }
        for i in range(24)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "toy.csv", index=False)
    done = CliRunner().invoke(app, ["card", "table", "--root", str(tmp_path / "toy.csv"), "--subsets", "2"])
    assert done.exit_code == 0, done.output
    assert "fold official: train 8 (8 speakers), dev 8 (8 speakers), test 8 (8 speakers)" in done.output
    assert "test items per subset: 4, 4" in done.output
