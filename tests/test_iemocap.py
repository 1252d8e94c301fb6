"""IEMOCAP: each trap of its files, its folds and tasks, and what bad input is told, on miniature copies."""

from __future__ import annotations

import shutil
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks.corpora.doctor import _orphans
from serbench.benchmarks.corpora.findings import count
from serbench.benchmarks.performance.parts import corpora
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.iemocap import reader as iemocap
from serbench.datasets.iemocap.files import read_evaluations
from serbench.datasets.mocks import iemocap as mock

HEAD = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
BLOCK = "[1.0000 - 2.0000]\t{name}\t{code}\t[{triple}]\nC-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature with all traps, sound included, in a folder above the release's own."""
    root = tmp_path_factory.mktemp("iemocap")
    mock.write(root / "IEMOCAP_full_release", utterances=100, traps=True, seed=3)
    return root


@pytest.fixture(scope="module")
def corpus(whole: Path):
    return iemocap.load(whole)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Label files alone."""
    mock.write_labels(tmp_path, mock.plan(60, 1))
    return tmp_path


def evaluation(root: Path, name: str = "Ses01F_impro01") -> Path:
    return root / f"Session{name[4]}/dialog/EmoEvaluation/{name}.txt"


def one_dialogue(root: Path, name: str, blocks: str) -> Path:
    path = evaluation(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((HEAD + blocks).encode("latin-1"))
    return path


# what is read


def test_the_miniature_has_every_planned_turn_and_the_labels_that_were_written(whole: Path, corpus) -> None:
    turns = {t.id: t for t in mock.plan(100, 3, traps=True)}
    table = corpus.utterances
    assert set(table.index) == set(turns)
    assert corpus.root == whole / "IEMOCAP_full_release"
    for name, turn in turns.items():
        row = table.loc[name]
        assert (row["raw_emotion"], row["dialogue_start"], row["dialogue_end"]) == (turn.code, turn.start, turn.end)
        assert row["text"].startswith(turn.text)
        assert (corpus.root / row["path"]).is_file()


def test_order_is_valence_activation_dominance(tmp_path: Path) -> None:
    one_dialogue(tmp_path, "Ses01F_impro01", BLOCK.format(name="Ses01F_impro01_F000", code="neu", triple="1.5, 4.5, 3"))
    row = iemocap.load(tmp_path).utterances.iloc[0]
    assert (row["valence"], row["arousal"], row["dominance"]) == (1.5, 4.5, 3.0)
    rating = iemocap.ratings(tmp_path).iloc[1]
    assert (rating["valence"], rating["arousal"], rating["dominance"]) == (3.0, 2.0, 2.0)


def test_speaker_is_the_last_letter_not_the_one_of_the_markers(corpus) -> None:
    table = corpus.utterances
    for name, row in table.iterrows():
        letter = name.rsplit("_", 1)[1][0]
        assert row["speaker"] == name[:5] + letter
        assert row["gender"] == {"F": "female", "M": "male"}[letter]
    markers = table.index.str[5]
    assert (markers != table["speaker"].str[-1]).mean() > 0.3, "the miniature must show the difference"
    assert table["speaker"].nunique() == 10


def test_dialogues_with_a_letter_behind_the_number(corpus) -> None:
    for dialogue, scenario in (("Ses03M_impro05a", "improvised"), ("Ses05M_script01_1b", "scripted")):
        rows = corpus.utterances[corpus.utterances["dialogue"].eq(dialogue)]
        assert len(rows) > 2
        assert set(rows["scenario"]) == {scenario}
        assert set(rows["speaker"].str[-1]) == {"F", "M"}, "a reader by position would find one speaker only"


def test_appledouble_stubs_are_skipped(whole: Path, corpus) -> None:
    assert list(whole.rglob("._Ses01F_impro01.txt")), "the miniature must have them"
    assert not corpus.utterances.index.str.startswith("._").any()


def test_only_the_top_level_of_emoevaluation_is_read(whole: Path) -> None:
    ratings = iemocap.ratings(whole)
    assert list(whole.rglob("Categorical/*_cat.txt"))
    assert not ratings["labels"].str.contains("Neutral state").fillna(False).any()
    assert len(iemocap.load(whole).utterances) == 100


def test_transcripts_are_latin_1_and_a_folder_may_be_written_transcriptions_with_a_capital(whole: Path, corpus) -> None:
    assert list(whole.rglob("Transcriptions"))
    first = corpus.utterances["text"].str.contains("café [LAUGHTER]", regex=False)
    assert first.sum() == corpus.utterances["dialogue"].nunique()
    assert corpus.utterances["text"].notna().all()


def test_xx_turns_and_nameless_lines_stay_out_and_are_counted(whole: Path, corpus) -> None:
    dialogues = corpus.utterances["dialogue"].nunique()
    assert f"{dialogues} transcribed lines name no labelled turn and are left out" in corpus.notes
    assert not corpus.utterances.index.str.contains("XX").any()


def test_empty_dominance_and_partial_attributes(corpus, whole: Path) -> None:
    fifth = corpus.utterances["dominance"].isna()
    assert fifth.sum() >= 5
    assert corpus.utterances.loc[fifth, ["arousal", "valence"]].notna().all(axis=None)
    assert f"{fifth.sum()} turns lack an attribute" in corpus.notes
    ratings = iemocap.ratings(whole)
    e5 = ratings[ratings["rater"].eq("E5")]
    assert e5["dominance"].isna().all()
    assert e5["arousal"].eq(2).all()
    assert len(corpus.items(corpus.task("dominance"))) == 100 - fifth.sum()


def test_a_triple_that_is_wholly_empty_is_missing(tmp_path: Path) -> None:
    one_dialogue(tmp_path, "Ses01F_impro01", BLOCK.format(name="Ses01F_impro01_F000", code="neu", triple=", , "))
    row = iemocap.load(tmp_path).utterances.iloc[0]
    assert row[["arousal", "valence", "dominance"]].isna().all()


def test_a_rater_with_two_labels_has_half_a_vote_for_each_and_self_reports_do_not_count(corpus, whole: Path) -> None:
    first = mock.plan(100, 3, traps=True)[0]
    votes: Counter[str] = Counter()
    for words in (*first.votes[:2], f"{first.votes[2]}; Frustration"):
        parts = words.split("; ")
        for word in parts:
            votes[word] += 1 / len(parts)
    row = corpus.utterances.loc[first.id]
    assert row["raters"] == 3
    for word, emotion in (("Frustration", "frustration"), ("Excited", "excitement"), ("Anger", "anger")):
        assert row[f"soft_{emotion}"] == pytest.approx(votes[word] / 3)
    assert row["soft_surprise"] == pytest.approx(votes["Surprise"] / 3)
    ratings = iemocap.ratings(whole)
    own = ratings[ratings["self_report"]]
    assert own["rater"].isin(["F1", "M1"]).all()
    assert own.iloc[0][["labels", "remark"]].tolist() == ["Surprise; Other", "self (nested)"]
    soft = corpus.utterances.filter(like="soft_")
    np.testing.assert_allclose(soft.sum(axis=1), 1.0)


def test_no_agreement_is_no_class_but_keeps_its_votes_and_attributes(corpus) -> None:
    xxx = corpus.utterances[corpus.utterances["raw_emotion"].eq("xxx")]
    assert len(xxx)
    assert xxx["emotion"].isna().all()
    assert xxx["arousal"].notna().all()
    assert xxx["soft_neutral"].notna().all()
    assert set(corpus.utterances.loc[corpus.utterances["raw_emotion"].eq("oth"), "emotion"]) == {"other"}


def test_unknown_raters_words_are_counted_not_guessed(tmp_path: Path) -> None:
    block = BLOCK.format(name="Ses01F_impro01_F000", code="neu", triple="1, 2, 3").replace("Neutral;", "Zorn;")
    one_dialogue(tmp_path, "Ses01F_impro01", block)
    corpus = iemocap.load(tmp_path)
    assert "1 raters' words count for no emotion: Zorn" in corpus.notes
    assert corpus.utterances.filter(like="soft_").isna().all(axis=None)


# context


def test_context_comes_from_all_turns_before_label_filtering(corpus) -> None:
    table = corpus.utterances
    items = corpus.items(corpus.task())
    before = set(items["previous"].dropna()) | set(items["interlocutor"].dropna())
    dropped = set(table.index) - set(items.index)
    assert before & dropped, "turns without a class must be context too"
    linked = table[table["previous"].notna()]
    assert (table.loc[linked["previous"], "speaker"].to_numpy() == linked["speaker"].to_numpy()).all()
    heard = table[table["interlocutor"].notna()]
    assert (table.loc[heard["interlocutor"], "speaker"].to_numpy() != heard["speaker"].to_numpy()).all()
    assert (table.loc[heard["interlocutor"], "dialogue"].to_numpy() == heard["dialogue"].to_numpy()).all()


def test_context_that_has_ended_is_safe_for_online_use(whole: Path, corpus) -> None:
    online = iemocap.load(whole, context="ended").utterances
    for column in ("previous", "interlocutor"):
        known = online[online[column].notna()]
        assert (online.loc[known[column], "dialogue_end"].to_numpy() <= known["dialogue_start"].to_numpy()).all()
    started = corpus.utterances["interlocutor"].fillna("-")
    assert (started != online["interlocutor"].fillna("-")).any(), "turns overlap in the miniature"
    with pytest.raises(SerbenchError, match="value of the option context 'later'"):
        iemocap.load(whole, context="later")


def test_turns_are_numbered_through_the_dialogue(corpus) -> None:
    for _, dialogue in corpus.utterances.groupby("dialogue"):
        ordered = dialogue.sort_values("turn")
        assert ordered["turn"].tolist() == list(range(len(ordered)))
        assert ordered["dialogue_start"].is_monotonic_increasing


# words and sound


def test_word_times_and_a_turn_without_any(corpus) -> None:
    turns = mock.plan(100, 3, traps=True)
    words = corpus.words(turns[0].id)
    assert " ".join(words["word"]) == " ".join(w.strip(".,!?").upper() for w in turns[0].text.split())
    assert words["start"].iloc[0] == pytest.approx(0.10)
    assert words["end"].is_monotonic_increasing
    assert corpus.words(turns[-1].id).empty
    assert list(corpus.words(turns[-1].id)) == ["word", "start", "end"]


def test_sentence_files_and_segments_of_the_dialogue_hold_the_same_sound(whole: Path, corpus) -> None:
    segments = iemocap.load(whole, audio="dialogue")
    name = corpus.utterances.index[1]
    row = segments.utterances.loc[name]
    assert row["path"].endswith("dialog/wav/Ses01F_impro01.wav")

    def samples(path: Path) -> np.ndarray:
        with wave.open(str(path)) as sound:
            data = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
            return data.reshape(-1, sound.getnchannels())

    alone = samples(corpus.audio_path(name))[:, 0]
    start = round(row["start"] * 16000)
    side = 0 if row["gender"] == "female" else 1
    cut = samples(segments.audio_path(name))[start : start + len(alone), side]
    quiet = np.abs(cut.astype(int) - alone) <= 1
    assert quiet.mean() > 0.7  # the same speaker's next turn may overlap the end
    assert row["end"] - row["start"] == pytest.approx(len(alone) / 16000, abs=2e-4)


def test_loads_without_any_sound_on_disk(labels: Path) -> None:
    corpus = iemocap.load(labels)
    assert len(corpus.utterances) == 60
    assert "60 turns have no sound file under the root" in corpus.notes
    first = corpus.utterances.iloc[0]
    assert first["path"] == f"Session1/sentences/wav/{first['dialogue']}/{corpus.utterances.index[0]}.wav"


# tasks, folds, counts

COUNTS = {
    "ang": 1103,
    "hap": 595,
    "exc": 1041,
    "sad": 1084,
    "neu": 1708,
    "fru": 1849,
    "fea": 40,
    "sur": 107,
    "dis": 2,
    "oth": 3,
    "xxx": 2507,
}
IMPROVISED = {"neu": 1099, "exc": 663, "sad": 608, "ang": 289, "hap": 284}


def published_size(root: Path) -> None:
    """Label files of 10,039 turns in 151 dialogues with the release's counts per class and scenario."""
    improvised = [code for code, n in IMPROVISED.items() for _ in range(n)]
    left = {code: n - IMPROVISED.get(code, 0) for code, n in COUNTS.items()}
    scripted = [code for code, n in left.items() for _ in range(n)]
    names = [
        f"Ses0{k}{m}_{'impro' if half == 0 else 'script01_'}{i}"
        for half in (0, 1)
        for k in range(1, 6)
        for m in "FM"
        for i in ("01 02 03 04 05a 06 07" if half == 0 else "1 2 3 4 5 6 7 8").split()
    ]
    names.append("Ses05M_script02_2")
    assert len(names) == 151
    for kind, codes in (("impro", improvised), ("script", scripted)):
        ours = [n for n in names if kind in n]
        for i, name in enumerate(ours):
            blocks = []
            for j, code in enumerate(codes[i :: len(ours)]):
                turn = f"{name}_{'FM'[j % 2]}{j // 2:03d}"
                raters = "".join(f"C-E{k}:\tNeutral; Sadness;\t()\n" for k in (2, 3, 4))
                raters += "".join(f"A-E{k}:\tval 3; act 2; dom  2;\t()\n" for k in (3, 4))
                blocks.append(f"[{j}.0000 - {j}.9000]\t{turn}\t{code}\t[2.5000, 3.0000, 3.5000]\n{raters}\n")
            one_dialogue(root, name, "".join(blocks))


def test_published_size_has_the_published_tasks(tmp_path: Path) -> None:
    published_size(tmp_path)
    corpus = iemocap.load(tmp_path)
    sizes = {task.name: len(corpus.items(task)) for task in corpus.tasks}
    assert sizes == {
        "emotion": 5531,
        "emotion-4-unmerged": 4490,
        "emotion-4-improvised": 2943,
        "emotion-4-unmerged-improvised": 2280,
        "emotion-4-frustration-neutral": 7380,
        "emotion-6": 7380,
        "attributes": 10039,
        "arousal": 10039,
        "valence": 10039,
        "dominance": 10039,
    }
    made = [key for key in corpus.expected if "session=" not in key and "speaker=" not in key]
    assert {key: count(corpus, key) for key in made} == {key: corpus.expected[key] for key in made}
    for key in corpus.expected.keys() - set(made):
        count(corpus, key)


def test_the_benchmark_reads_151_dialogues_and_10039_turns(tmp_path: Path) -> None:
    corpora.write_iemocap(tmp_path)
    corpus = iemocap.load(tmp_path)
    assert (len(corpus.utterances), corpus.utterances["dialogue"].nunique()) == (10039, 151)
    assert corpus.utterances["raters"].eq(3).all()
    assert corpus.utterances["text"].notna().all()


def test_published_figures_agree_with_each_other() -> None:
    expected = iemocap.EXPECTED
    whole = {k.split("=")[1]: n for k, n in expected.items() if k.startswith("raw_emotion=") and "," not in k}
    assert whole == COUNTS
    assert sum(whole.values()) == expected["utterances"] == 10039
    by_session = [expected[f"task:emotion@session=Session{k}"] for k in range(1, 6)]
    assert sum(by_session) == expected["task:emotion"] == 1103 + (595 + 1041) + 1708 + 1084
    for k, n in enumerate(by_session, 1):
        assert expected[f"task:emotion@speaker=Ses0{k}F"] + expected[f"task:emotion@speaker=Ses0{k}M"] == n
        others = sum(expected[f"raw_emotion={code},session=Session{k}"] for code in ("neu", "ang", "sad"))
        assert n - others == (278, 327, 286, 303, 442)[k - 1], "happiness and excitement"
    for code in ("neu", "ang", "sad"):
        assert sum(expected[f"raw_emotion={code},session=Session{k}"] for k in range(1, 6)) == COUNTS[code]


def test_the_default_task_is_the_four_class_one_with_happiness_and_excitement_merged(corpus) -> None:
    task = corpus.task()
    assert (task.name, task.labels) == ("emotion", ("anger", "happiness", "neutral", "sadness"))
    items = corpus.items(task)
    merged = items["raw_emotion"].isin(["hap", "exc"]).to_numpy()
    assert set(task.encode(items)[merged]) == {1}
    assert merged.any()


def test_leave_one_session_out_is_speaker_disjoint_with_the_next_session_as_dev(corpus) -> None:
    table = corpus.utterances
    folds = corpus.folds()
    assert len(folds) == 5
    assert next(iter(corpus.splits)) == "leave-one-session-out"
    tested = []
    for k, fold in enumerate(folds):
        role = fold.assign(table)
        speakers = {r: set(table.loc[role.eq(r), "speaker"]) for r in ("train", "dev", "test")}
        assert set(table.loc[role.eq("test"), "session"]) == {f"Session{k + 1}"}
        assert set(table.loc[role.eq("dev"), "session"]) == {f"Session{(k + 1) % 5 + 1}"}
        assert len(speakers["train"]) == 6
        assert not speakers["train"] & speakers["dev"]
        assert not speakers["train"] & speakers["test"]
        assert not speakers["dev"] & speakers["test"]
        tested += table.index[role.eq("test")].tolist()
    assert sorted(tested) == sorted(table.index)


def test_leave_one_speaker_out_selects_on_the_session_mate(corpus) -> None:
    table = corpus.utterances
    folds = corpus.folds("leave-one-speaker-out")
    assert len(folds) == 10
    for fold in folds:
        role = fold.assign(table)
        (tested,), (mate,) = (set(table.loc[role.eq(r), "speaker"]) for r in ("test", "dev"))
        assert tested[:5] == mate[:5]
        assert tested != mate
        assert not table.loc[role.eq("train"), "speaker"].str.startswith(tested[:5]).any()
    assert {"session", "dialogue", "text"} <= set(corpus.shared)


@pytest.mark.parametrize(("audio", "other"), [("sentence", "dialog/wav"), ("dialogue", "sentences/wav")])
def test_the_other_form_of_the_recordings_is_no_orphan(whole: Path, audio: str, other: str) -> None:
    corpus = iemocap.load(whole, audio=audio)
    assert [path for path in whole.rglob(f"{other}/**/*.wav") if not path.name.startswith(".")]
    assert _orphans(corpus, set(corpus.utterances["path"])) == []


# bad input


def test_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(SerbenchError, match=r"looked for the folders Session1 to Session5 .* found photos/"):
        iemocap.load(tmp_path)
    with pytest.raises(SerbenchError, match="needs --root"):
        iemocap.load(None)


def test_a_zip_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "IEMOCAP_full_release.tar.gz").write_bytes(b"x")
    with pytest.raises(SerbenchError, match=r"Unpack IEMOCAP_full_release\.tar\.gz"):
        iemocap.load(tmp_path)


def test_half_copied_corpus_is_a_note_not_an_end(labels: Path) -> None:
    shutil.rmtree(labels / "Session4")
    shutil.rmtree(labels / "Session2/dialog/transcriptions")
    (labels / "Session4.zip").write_bytes(b"x")
    corpus = iemocap.load(labels)
    assert "the corpus is not whole: no labels of Session4" in corpus.notes
    assert "not unpacked: Session4.zip" in corpus.notes
    assert any(note.endswith("turns have no transcript") for note in corpus.notes)
    assert len(corpus.folds()) == 4
    for k in (1, 2, 3, 5):
        shutil.rmtree(labels / f"Session{k}/dialog/EmoEvaluation")
    with pytest.raises(SerbenchError, match=r"such as dialog/EmoEvaluation"):
        iemocap.load(labels)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[1.0000 - 2.0000]\t", "[1.0000]\t", r"line 3 .*Expected \[start - end\]"),
        ("\tneu\t", "\t", r"line 3 .*Expected \[start - end\], turn name, emotion"),
        ("1.0, 2.0, 3.0", "1.0, zwei, 3.0", r"line 3 .*Expected a number instead of 'zwei'"),
        ("[1.0000 -", "[one -", r"line 3 .*Expected a number instead of 'one'"),
        ("\tneu\t", "\tjoy\t", r"unknown class 'joy' of 'Ses01F_impro01_F000'"),
        ("Ses01F_impro01_F000", "../../etc/passwd", r"line 3 .*a turn name such as"),
        ("C-E2:", "C-:", r"line 4 .*a rater's line"),
        ("val 3", "val drei", r"attributes of 'Ses01F_impro01_F000' by E3"),
    ],
)
def test_lines_that_cannot_be_read_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    block = BLOCK.format(name="Ses01F_impro01_F000", code="neu", triple="1.0, 2.0, 3.0")
    assert old in block
    one_dialogue(tmp_path, "Ses01F_impro01", block.replace(old, new))
    read = iemocap.ratings if "drei" in new else iemocap.load
    with pytest.raises(SerbenchError, match=message):
        read(tmp_path)


def test_two_files_for_one_turn(labels: Path) -> None:
    path = evaluation(labels)
    shutil.copy(path, path.with_name("Ses01F_impro01 copy.txt"))
    with pytest.raises(SerbenchError, match=r"two files hold the turn .*copy\.txt.* and "):
        iemocap.load(labels)


def test_two_blocks_for_one_turn(labels: Path) -> None:
    path = evaluation(labels)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(SerbenchError, match=r"holds the turn 'Ses01F_impro01_[FM]000' twice"):
        iemocap.load(labels)


def test_there_is_one_release(labels: Path) -> None:
    with pytest.raises(SerbenchError, match="one release"):
        iemocap.load(labels, "2.0")
    with pytest.raises(SerbenchError, match="one release"):
        mock.write(labels, release="2.0")


def test_folders_in_another_case(labels: Path) -> None:
    before = iemocap.load(labels).utterances
    (labels / "Session1").rename(labels / "SESSION1")
    (labels / "Session2/dialog").rename(labels / "Session2/Dialog")
    (labels / "Session3/dialog/EmoEvaluation").rename(labels / "Session3/dialog/emoevaluation")
    after = iemocap.load(labels).utterances
    pd.testing.assert_frame_equal(before.drop(columns="path"), after.drop(columns="path"))
    assert after["path"].str.startswith("SESSION1/").any()


def test_miniature_is_the_same_for_the_same_seed(tmp_path: Path, labels: Path) -> None:
    mock.write_labels(tmp_path / "again", mock.plan(60, 1))
    assert iemocap.load(labels).digest() == iemocap.load(tmp_path / "again").digest()
    mock.write_labels(tmp_path / "other", mock.plan(60, 2))
    assert iemocap.load(labels).digest() != iemocap.load(tmp_path / "other").digest()
    assert len(read_evaluations([labels / "Session1/dialog/EmoEvaluation"]).turns) == 12
