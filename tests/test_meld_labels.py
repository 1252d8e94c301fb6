"""MELD's real label files: published counts, context, times, splits and speakers."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

import pandas as pd
import pytest

from serbench.datasets.meld import reader as meld
from serbench.datasets.schema.corpus import Corpus


@pytest.fixture(scope="module")
def real(test_data: Path) -> Corpus:
    return meld.load(test_data / "meld_csv")


@pytest.fixture(scope="module")
def rows(test_data: Path) -> pd.DataFrame:
    """The label files read without serbench."""
    parts = []
    for split in ("train", "dev", "test"):
        with (test_data / "meld_csv" / f"{split}_sent_emo.csv").open(encoding="utf-8", newline="") as stream:
            parts += [{**row, "split": split} for row in csv.DictReader(stream)]
    return pd.DataFrame(parts)


def test_rows_and_classes_are_the_published_ones(real: Corpus) -> None:
    table = real.utterances
    assert table["partition"].value_counts().to_dict() == {"train": 9989, "dev": 1109, "test": 2610}
    order = ["neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"]
    published = {
        "train": [4710, 1743, 1205, 1109, 683, 271, 268],
        "dev": [470, 163, 150, 153, 111, 22, 40],
        "test": [1256, 402, 281, 345, 208, 68, 50],
    }
    sentiments = {"train": [4710, 2945, 2334], "dev": [470, 406, 233], "test": [1256, 833, 521]}
    for split, part in table.groupby("partition"):
        assert part["raw_emotion"].value_counts()[order].tolist() == published[str(split)]
        found = part["sentiment"].value_counts()[["neutral", "negative", "positive"]].tolist()
        assert found == sentiments[str(split)]
    assert table["emotion"].eq("happiness").sum() == 1743 + 163 + 402


def test_expected_counts_hold_on_the_real_files(real: Corpus) -> None:
    table = real.utterances
    for key, count in real.expected.items():
        chosen = table
        kind, _, within = key.rpartition("@") if "@" in key else ("", "", key)
        for condition in (c for c in within.split(",") if "=" in c):
            column, _, value = condition.partition("=")
            chosen = chosen[chosen[column] == value]
        if kind:
            assert chosen[kind.removesuffix("s")].nunique() == count, key
        elif "=" in key:
            assert len(chosen) == count, key
    assert len(table) == real.expected["utterances"]
    assert table["speaker"].nunique() == real.expected["speakers"]


def test_context_counts_are_the_published_ones(real: Corpus, rows: pd.DataFrame) -> None:
    table = real.utterances
    split = table["partition"]
    own = table["previous"].notna().groupby(split).sum()
    other = table["interlocutor"].notna().groupby(split).sum()
    either = (table["previous"].notna() | table["interlocutor"].notna()).groupby(split).sum()
    assert own.to_dict() == {"train": 7174, "dev": 766, "test": 1864}
    assert other.to_dict() == {"train": 8499, "dev": 974, "test": 2197}
    assert either.to_dict() == {"train": 8951, "dev": 995, "test": 2330}
    ordered = table.sort_values(["dialogue", "turn"])
    goes_on = ordered["speaker"].eq(ordered.groupby("dialogue")["speaker"].shift())
    assert goes_on.groupby(ordered["partition"]).sum().to_dict() == {"train": 2009, "dev": 212, "test": 565}
    people = table.groupby(["partition", "dialogue"])["speaker"].nunique()
    assert people.max() == 9
    assert people.eq(2).groupby("partition").sum().to_dict() == {"train": 463, "dev": 52, "test": 128}
    assert people.eq(1).groupby("partition").sum().to_dict() == {"train": 96, "dev": 6, "test": 21}
    for name, dialogue in list(rows.groupby(["split", "Dialogue_ID"]))[::37]:
        last: dict[str, str] = {}
        for row in sorted(dialogue.to_dict("records"), key=lambda r: int(r["Utterance_ID"])):
            item = f"{name[0]}/dia{name[1]}_utt{row['Utterance_ID']}"
            others = [i for who, i in last.items() if who != row["Speaker"]]
            found = real.row(item)
            assert (found["previous"] if pd.notna(found["previous"]) else None) == last.get(row["Speaker"])
            expected = max(others, key=list(last.values()).index, default=None)
            assert (found["interlocutor"] if pd.notna(found["interlocutor"]) else None) == expected
            last.pop(row["Speaker"], None)
            last[row["Speaker"]] = item


def test_usable_clips_are_13706(real: Corpus) -> None:
    assert real.known_unusable <= set(real.utterances.index)
    usable = real.utterances.drop(index=list(real.known_unusable))
    assert usable["partition"].value_counts().to_dict() == {"train": 9988, "dev": 1108, "test": 2610}
    assert real.utterances.loc[list(real.known_unusable), "emotion"].eq("neutral").all()


def test_dialogue_numbers_restart_in_each_split_so_ids_carry_the_split(real: Corpus) -> None:
    ids = real.utterances.index
    bare = ids.str.split("/").str[1]
    assert ids.is_unique
    assert bare.duplicated().sum() > 2000
    assert {"train/dia0_utt0", "dev/dia0_utt0", "test/dia0_utt0"} <= set(ids)
    train = real.utterances.loc[real.utterances["partition"] == "train", "dialogue_number"]
    assert sorted(set(range(1039)) - set(train)) == [60]
    dialogues = real.utterances.groupby("partition")["dialogue"].nunique()
    assert dialogues.to_dict() == {"train": 1038, "dev": 114, "test": 280}


def test_sr_no_is_no_key(rows: pd.DataFrame, real: Corpus) -> None:
    assert rows.loc[rows["split"] == "train", "Sr No."].duplicated().sum() == 57
    assert real.utterances.index.is_unique


def test_one_digit_hours_are_read(rows: pd.DataFrame, real: Corpus) -> None:
    one_digit = rows["StartTime"].str.match(r"^\d:")
    assert one_digit.groupby(rows["split"]).sum().to_dict() == {"train": 2412, "dev": 270, "test": 685}
    ids = rows["split"] + "/dia" + rows["Dialogue_ID"] + "_utt" + rows["Utterance_ID"]
    sample = pd.Series(rows["EndTime"].to_numpy(), ids)[::97]
    for item, text in sample.items():
        clock = datetime.datetime.strptime(text, "%H:%M:%S,%f") - datetime.datetime(1900, 1, 1)
        assert real.row(str(item))["dialogue_end"] == pytest.approx(clock.total_seconds(), abs=1e-9)


def test_times_are_unreliable_so_the_utterance_number_orders_turns(real: Corpus) -> None:
    table = real.utterances.sort_values(["dialogue", "turn"])
    backwards = table.groupby("dialogue")["dialogue_start"].diff() < 0
    assert backwards.groupby(table["partition"]).sum().to_dict() == {"train": 23, "dev": 4, "test": 4}
    flags = table["duration_flag"]
    assert flags["test/dia155_utt3"] == "zero"
    assert {flags["test/dia38_utt4"], flags["test/dia220_utt0"], flags["train/dia309_utt0"]} == {"very long"}
    assert flags[flags == "very long"].groupby(table["partition"]).size().to_dict() == {"train": 7, "dev": 2, "test": 2}
    assert flags["train/dia71_utt0"] == "very short"


def test_turns_that_ended_before_are_the_online_context(test_data: Path, real: Corpus) -> None:
    online = meld.load(test_data / "meld_csv", context="ended").utterances
    table = real.utterances
    for column in ("previous", "interlocutor"):
        known = online[column].dropna()
        ends = table.loc[known.to_numpy(dtype=object), "dialogue_end"].to_numpy()
        assert (ends <= table.loc[known.index, "dialogue_start"].to_numpy()).all()
        assert table[column].notna().sum() > len(known) > 0.95 * table[column].notna().sum()


def test_episodes_and_rows_that_cross_the_official_split_are_told(real: Corpus) -> None:
    table = real.utterances.reset_index()
    assert (table.groupby("episode")["partition"].nunique() == 3).sum() == 67
    place = ["episode", "dialogue_start", "dialogue_end"]
    train = table["partition"].eq("train")
    assert table[train].duplicated(place).sum() == 20
    crossing = table.groupby(place)["partition"].nunique() > 1
    assert crossing.sum() == 5
    met = table[~train & table.set_index(place).index.isin(table[train].set_index(place).index)]
    tested = set(met.loc[met["partition"] == "test", "id"])
    assert tested == {"test/dia85_utt0", "test/dia85_utt1", "test/dia117_utt8"}
    told = next(note for note in real.notes if "not speaker-independent" in note)
    assert all(item.removeprefix("test/") in told for item in tested)
    assert "67 episodes" in told


def test_several_people_at_once_are_marked(real: Corpus) -> None:
    table = real.utterances
    forms = set(table.loc[table["joint_speaker"], "speaker"])
    assert {"All", "Both", "Ross and Joey", "Joey/Drake", "Phoebe/Waitress"} <= forms
    assert len(forms - {"Her-Friends"}) == 18
    assert not forms & set(meld.LEADS)
    assert table["speaker"].nunique() == 304


def test_official_split_shares_speakers_and_says_so(real: Corpus) -> None:
    (fold,) = real.folds("official")
    role = fold.assign(real.utterances)
    speakers = {r: set(real.utterances.loc[(role == r).to_numpy(dtype=bool), "speaker"]) for r in ("train", "test")}
    assert len(speakers["test"] - speakers["train"]) == 31
    assert speakers["test"] & speakers["train"]
    assert "speaker" in real.shared


@pytest.mark.parametrize("fold", range(7))
def test_speaker_disjoint_folds_share_neither_speakers_nor_dialogues(real: Corpus, fold: int) -> None:
    table = real.utterances
    role = real.folds("speaker-disjoint")[fold].assign(table)
    parts = [table[role.eq(r).fillna(False).to_numpy(dtype=bool)] for r in ("train", "dev", "test")]
    assert all(len(part) > 900 for part in parts)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not set(parts[i]["speaker"]) & set(parts[j]["speaker"])
        assert not set(parts[i]["dialogue"]) & set(parts[j]["dialogue"])
    if fold < 6:
        lead = list(meld.LEADS)[fold]
        assert table["speaker"].eq(lead).sum() == parts[2]["speaker"].eq(lead).sum()


def test_roles_of_a_lead_count_as_the_lead() -> None:
    assert meld.groups_of("Ursula") == {"Phoebe"}
    assert meld.groups_of("Joey/Drake") == {"Joey"}
    assert meld.groups_of("Phoebe and Leslie") == {"Phoebe", "others"}
    assert meld.groups_of("All") == frozenset()
    assert meld.groups_of("Gunther") == {"others"}


def test_speaker_disjoint_pools_every_turn_of_the_groups_once(real: Corpus) -> None:
    roles = [fold.assign(real.utterances) for fold in real.folds("speaker-disjoint")]
    tested = sum(role.eq("test").fillna(False).astype(int) for role in roles)
    assert set(tested) == {0, 1}
    assert tested.sum() == real.utterances["speaker_group"].notna().sum()


def test_tasks_are_the_corpus_own_and_the_mapping_to_iemocap(real: Corpus) -> None:
    assert [t.name for t in real.tasks] == ["emotion", "sentiment", "emotion-4"]
    assert len(real.task().labels) == 7
    four = real.task("emotion-4")
    assert four.labels == ("anger", "happiness", "neutral", "sadness")
    assert four.dropped(real.utterances) == {"disgust": 361, "fear": 358, "surprise": 1636}
