"""RAVDESS, TESS and SAVEE: names against the published designs, counts, traps and bad input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from serbench.benchmarks.corpora.doctor import _orphans
from serbench.datasets import ravdess, savee, tess
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import Corpus

SIZES = {"ravdess": 48, "tess": 28, "savee": 28}


@pytest.fixture(scope="module")
def roots(miniature: Callable[..., Path]) -> dict[str, Path]:
    return {name: miniature(name, utterances=size) for name, size in SIZES.items()}


@pytest.fixture(scope="module")
def trapped(miniature: Callable[..., Path]) -> dict[str, Path]:
    return {name: miniature(name, utterances=size, traps=True) for name, size in SIZES.items()}


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def _counts(corpus: Corpus) -> dict[str, int]:
    """What `expected` counts, counted a second time."""
    found = {"utterances": len(corpus.utterances), "speakers": corpus.utterances["speaker"].nunique()}
    for key in corpus.expected:
        column, _, value = key.partition("=")
        if value:
            found[key] = int((corpus.utterances[column] == value).sum())
    return found


# ---- RAVDESS --------------------------------------------------------------------------------------------------------


def _ravdess_names() -> list[str]:
    """All spoken takes by the published design."""
    names = []
    for actor, emotion, intensity, statement, repetition in product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2)):
        if not (emotion == 1 and intensity == 2):
            name = f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}"
            names.append(f"Actor_{actor:02d}/{name}.wav")
    return names


@pytest.fixture(scope="module")
def ravdess_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _touch(tmp_path_factory.mktemp("ravdess_names"), *_ravdess_names())


def test_ravdess_counts_are_the_designs(ravdess_names: Path) -> None:
    corpus = ravdess.load(ravdess_names)
    assert len(corpus.utterances) == 1440
    assert _counts(corpus) == dict(corpus.expected)


def test_ravdess_folds_are_four_actors_of_both_sexes(ravdess_names: Path) -> None:
    corpus = ravdess.load(ravdess_names)
    folds = corpus.folds()
    assert len(folds) == 6
    for fold in folds:
        role = fold.assign(corpus.utterances)
        assert role.value_counts().to_dict() == {"train": 960, "dev": 240, "test": 240}
        tested = corpus.utterances[role.eq("test").to_numpy(dtype=bool)].drop_duplicates("speaker")
        assert tested["gender"].value_counts().to_dict() == {"female": 2, "male": 2}


def test_ravdess_name_grammar(ravdess_names: Path) -> None:
    row = ravdess.load(ravdess_names).row("03-01-06-01-02-01-12")
    assert (row["emotion"], row["intensity"], row["speaker"], row["gender"]) == ("fear", "normal", "12", "female")
    assert row["text"] == "Dogs are sitting by the door."
    assert row["path"] == "Actor_12/03-01-06-01-02-01-12.wav"


def test_ravdess_video_tracks_and_song_are_left_out_and_told(trapped: dict[str, Path]) -> None:
    corpus = ravdess.load(trapped["ravdess"])
    assert corpus.utterances.index.str.startswith("03-01-").all()
    assert any(note.startswith("2 files of other modalities") for note in corpus.notes)
    assert any("notes of the session" in note for note in corpus.notes)
    for chosen in ("speech", "song", "both"):
        part = ravdess.load(trapped["ravdess"], channel=chosen)
        left = _orphans(part, set(part.utterances["path"]))
        assert not [path for path in left if Path(path).name.startswith("0")]
    song = ravdess.load(trapped["ravdess"], channel="song")
    assert song.utterances["channel"].tolist() == ["song"]
    assert len(ravdess.load(trapped["ravdess"], channel="both").utterances) == SIZES["ravdess"] + 1
    with pytest.raises(SerbenchError, match="unknown value of channel"):
        ravdess.load(trapped["ravdess"], channel="sung")


def test_ravdess_second_copy_inside_is_not_read_twice(roots: dict[str, Path], tmp_path: Path) -> None:
    """A widely used archive holds all actors a second time in a folder of their own."""
    shutil.copytree(roots["ravdess"], tmp_path / "a")
    shutil.copytree(roots["ravdess"], tmp_path / "a/audio_speech_actors_01-24")
    assert len(ravdess.load(tmp_path / "a").utterances) == SIZES["ravdess"]


def test_ravdess_two_files_for_one_id(tmp_path: Path) -> None:
    _touch(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", "Actor_02/03-01-01-01-01-01-01.wav")
    with pytest.raises(SerbenchError, match="two files for one id, 03-01-01-01-01-01-01"):
        ravdess.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03-01-09-01-01-01-01", "unknown class '09' of '03-01-09-01-01-01-01'"),
        ("03-01-01-01-03-01-01", "has the statement '03'"),
        ("03-01-01-03-01-01-01", "has the intensity '03'"),
        ("03-01-01-01-01-01-25", "is of actor '25'"),
    ],
)
def test_ravdess_unknown_codes(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(SerbenchError, match=message):
        ravdess.load(_touch(tmp_path, f"Actor_01/{name}.wav"))


def test_ravdess_without_any_speech(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="none is sound alone of channel=speech"):
        ravdess.load(_touch(tmp_path, "Actor_01/01-01-01-01-01-01-01.wav"))


# ---- TESS -----------------------------------------------------------------------------------------------------------


def test_tess_counts_are_the_designs(tmp_path: Path) -> None:
    codes = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    words = [f"{a}{b}" for a, b in product("bcdfghjklm", [f"{v}{c}" for v, c in product("aeiou", "dgst")])]
    assert len(words) == 200
    _touch(tmp_path, *(f"{s}_{e}/{s}_{w}_{e}.wav" for s, w, e in product(("OAF", "YAF"), words, codes)))
    corpus = tess.load(tmp_path)
    assert _counts(corpus) == dict(corpus.expected)
    role = corpus.folds()[0].assign(corpus.utterances)
    assert role.value_counts().to_dict() == {"test": 1400, "train": 1120, "dev": 280}


def test_tess_misspelt_speaker_is_the_older_woman(trapped: dict[str, Path]) -> None:
    corpus = tess.load(trapped["tess"])
    row = corpus.row("OAF_back_neutral")
    assert Path(row["path"]).name == "OA_back_neutral.wav"
    assert (row["speaker"], row["age"], row["text"]) == ("OAF", 64, "Say the word back.")
    assert set(corpus.utterances["speaker"]) == {"OAF", "YAF"}


def test_tess_folder_and_file_names_in_any_case(trapped: dict[str, Path]) -> None:
    corpus = tess.load(trapped["tess"])
    assert (trapped["tess"] / "OAF_Sad").is_dir()
    assert (trapped["tess"] / "OAF_pleasant_surprise").is_dir()
    assert corpus.utterances["path"].str.contains("_BAR_").any()
    assert len(corpus.utterances) == SIZES["tess"]
    assert set(corpus.utterances.loc[corpus.utterances["raw_emotion"] == "ps", "emotion"]) == {"surprise"}


def test_tess_two_files_for_one_take(roots: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(roots["tess"], tmp_path, dirs_exist_ok=True)
    shutil.copy(tmp_path / "OAF_angry/OAF_back_angry.wav", tmp_path / "OAF_angry/OA_back_angry.wav")
    with pytest.raises(SerbenchError, match="two files for one id, OAF_back_angry"):
        tess.load(tmp_path)


def test_tess_unknown_class(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="unknown class 'bored' of 'OAF_back_bored'"):
        tess.load(_touch(tmp_path, "OAF_bored/OAF_back_bored.wav"))


# ---- SAVEE ----------------------------------------------------------------------------------------------------------


def test_savee_counts_are_the_designs(tmp_path: Path) -> None:
    sizes = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
    takes = [f"{code}{i:02d}.wav" for code, size in sizes.items() for i in range(1, size + 1)]
    names = [f"AudioData/{speaker}/{take}" for speaker, take in product(("DC", "JE", "JK", "KL"), takes)]
    corpus = savee.load(_touch(tmp_path, *names))
    assert _counts(corpus) == dict(corpus.expected)
    assert len(corpus.folds()) == 4
    assert corpus.row("KL_sa07")["emotion"] == "sadness"
    assert savee.load(tmp_path / "AudioData").utterances.index.equals(corpus.utterances.index)


def test_savee_flat_layout(trapped: dict[str, Path], roots: dict[str, Path]) -> None:
    flat = savee.load(trapped["savee"])
    nested = savee.load(roots["savee"])
    assert flat.row("DC_a01")["path"] == "DC_a01.wav"
    assert nested.row("DC_a01")["path"] == "AudioData/DC/a01.wav"
    assert flat.utterances.index.equals(nested.utterances.index)


def test_savee_two_files_for_one_take(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="two files for one id, DC_a01"):
        savee.load(_touch(tmp_path, "DC_a01.wav", "DC/a01.wav"))


def test_savee_unknown_class(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="unknown class 'x' of 'DC_x01'"):
        savee.load(_touch(tmp_path, "AudioData/DC/x01.wav"))
