"""RAVDESS, CREMA-D, TESS, SAVEE, MSP-IMPROV: grammar against the published designs, folds, traps, bad input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks._findings import counts
from serbench.benchmarks.doctor import _orphans
from serbench.datasets import _acted, _improv_files, _mock_small, crema_d, msp_improv, ravdess, savee, tess
from serbench.datasets._corpus import Corpus
from serbench.datasets._errors import SerbenchError

MODULES: dict[str, Any] = {
    "ravdess": ravdess, "crema-d": crema_d, "tess": tess, "savee": savee, "msp-improv": msp_improv,
}  # fmt: skip
SIZES = {"ravdess": 48, "crema-d": 72, "tess": 28, "savee": 28, "msp-improv": 96}
NAMES = tuple(MODULES)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, size in SIZES.items():
        made[name] = tmp_path_factory.mktemp(name)
        _mock_small.write(made[name], corpus=name, utterances=size)
    return made


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, size in SIZES.items():
        made[name] = tmp_path_factory.mktemp(f"{name}_traps")
        _mock_small.write(made[name], corpus=name, utterances=size, traps=True)
    return made


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


# ---- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_miniature_is_read_whole(roots: dict[str, Path], name: str) -> None:
    corpus = MODULES[name].load(roots[name])
    assert len(corpus.utterances) == SIZES[name]
    assert corpus.name == name
    assert all(corpus.source_path(item).is_file() for item in corpus.utterances.index)
    assert corpus.utterances["gender"].isin(["female", "male"]).all()
    assert len(corpus.items(corpus.task())) > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_split_is_speaker_disjoint_and_tests_everything_once(roots: dict[str, Path], name: str) -> None:
    corpus = MODULES[name].load(roots[name])
    table = corpus.utterances
    for split in corpus.splits:
        tested = pd.Series(0, table.index)
        for fold in corpus.folds(split):
            role = fold.assign(table)
            speakers = {r: set(table["speaker"][role.eq(r).fillna(False)]) for r in ("train", "dev", "test")}
            assert all(speakers.values())
            assert not speakers["test"] & (speakers["train"] | speakers["dev"])
            assert name == "tess" or not speakers["dev"] & speakers["train"]
            tested += role.eq("test").fillna(False).astype(int)
        assert (tested == 1).all(), split


@pytest.mark.parametrize("name", NAMES)
def test_miniature_is_deterministic(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    _mock_small.write(tmp_path, corpus=name, utterances=SIZES[name])
    corpus = MODULES[name].load(roots[name])
    assert MODULES[name].load(tmp_path).digest() == corpus.digest()
    item = corpus.utterances.index[0]
    again = (tmp_path / corpus.utterances["path"].iloc[0]).read_bytes()
    assert corpus.source_path(item).read_bytes() == again


@pytest.mark.parametrize("name", NAMES)
def test_one_folder_above_will_do(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    shutil.copytree(roots[name], tmp_path / "unpacked")
    assert MODULES[name].load(tmp_path).digest() == MODULES[name].load(roots[name]).digest()


@pytest.mark.parametrize("name", NAMES)
def test_appledouble_stubs_are_never_seen(trapped: dict[str, Path], name: str) -> None:
    assert list(trapped[name].rglob("._*"))
    corpus = MODULES[name].load(trapped[name])
    assert not corpus.utterances["path"].str.contains("._", regex=False).any()
    assert not any("._" in note for note in corpus.notes)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(SerbenchError, match=rf"{name}: looked for .*found photos/.*--root"):
        MODULES[name].load(tmp_path)
    with pytest.raises(SerbenchError, match="needs --root"):
        MODULES[name].load(None)


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("ravdess", "Audio_Speech_Actors_01-24.zip"),
        ("crema-d", "CREMA-D-master.zip"),
        ("tess", "dataverse_files.zip"),
        ("savee", "AudioData.zip"),
        ("msp-improv", "MSP-IMPROV.tar.gz"),
    ],
)
def test_archive_not_unpacked(tmp_path: Path, name: str, archive: str) -> None:
    (tmp_path / archive).write_bytes(b"")
    with pytest.raises(SerbenchError, match=f"Unpack {archive}"):
        MODULES[name].load(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_half_copied_corpus_is_told_by_the_published_counts(roots: dict[str, Path], name: str) -> None:
    corpus = MODULES[name].load(roots[name])
    published = corpus.expected["utterances"]
    assert f"utterances: {SIZES[name]} found, {published} published" in [found.detail for found in counts(corpus)]


@pytest.mark.parametrize("name", NAMES)
def test_release_is_refused(roots: dict[str, Path], tmp_path: Path, name: str) -> None:
    with pytest.raises(SerbenchError, match="one release"):
        MODULES[name].load(roots[name], "2")
    with pytest.raises(SerbenchError, match="one release"):
        _mock_small.write(tmp_path, corpus=name, release="2")


def test_unknown_miniature_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"Did you mean 'ravdess'"):
        _mock_small.write(tmp_path, corpus="ravdes")


def test_speaker_folds_balance_women_and_men() -> None:
    genders = {f"w{i:02d}": "female" for i in range(43)} | {f"m{i:02d}": "male" for i in range(48)}
    folds = pd.Series(_acted.speaker_folds(genders, 5))
    sizes = pd.crosstab(folds, pd.Series(genders))
    assert (sizes.max() - sizes.min() <= 1).all()
    assert (folds.value_counts().max() - folds.value_counts().min()) <= 1


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


# ---- CREMA-D --------------------------------------------------------------------------------------------------------

VOTES = "processedResults/tabulatedVotes.csv"


@pytest.fixture
def crema(roots: dict[str, Path], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(roots["crema-d"], tmp_path, dirs_exist_ok=True)
    return tmp_path


def _edit(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text(encoding="utf-8")
    changed = change(text)
    assert changed != text
    path.write_text(changed, encoding="utf-8")


def test_crema_d_loads_without_audio(crema: Path) -> None:
    before = crema_d.load(crema)
    shutil.rmtree(crema / "AudioWAV")
    after = crema_d.load(crema)
    assert after.utterances.index.equals(before.utterances.index)
    assert after.utterances["path"].equals(before.utterances["path"])


def test_crema_d_name_grammar(crema: Path) -> None:
    row = crema_d.load(crema).row("1002_IEO_SAD_XX")
    assert (row["emotion"], row["speaker"], row["level"]) == ("sadness", "1002", "unspecified")
    assert row["text"] == "It's eleven o'clock."
    assert (row["gender"], row["age"]) == ("female", 21)


def test_crema_d_only_votes_by_ear_count(crema: Path) -> None:
    corpus = crema_d.load(crema)
    votes = pd.read_csv(crema / "processedResults/tabulatedVotes.csv", index_col=0)
    heard = votes[votes.index < 200000].set_index("fileName")
    soft = corpus.utterances[[f"soft_{label}" for label in crema_d.LABELS]]
    counts = heard.loc[soft.index, list("ADFHNS")]
    np.testing.assert_allclose(soft, counts.div(counts.sum(axis=1), axis=0))
    assert corpus.utterances["raters"].eq(counts.sum(axis=1)).all()
    assert corpus.utterances["perceived"].eq(corpus.utterances["emotion"]).all()
    seen = votes[votes.index >= 200000].set_index("fileName")["emoVote"]
    assert seen.str[0].ne(heard["emoVote"].str[0].reindex(seen.index)).any()


def test_crema_d_ties_have_no_perceived_emotion(trapped: dict[str, Path]) -> None:
    corpus = crema_d.load(trapped["crema-d"])
    tied = corpus.utterances[corpus.utterances["perceived"].isna()]
    assert len(tied) == 1
    assert tied[["soft_anger", "soft_disgust"]].iloc[0].tolist() == [0.5, 0.5]
    assert tied.index[0] not in corpus.items(corpus.task("perceived")).index


def test_crema_d_silent_clip_is_known_to_be_unusable(trapped: dict[str, Path]) -> None:
    corpus = crema_d.load(trapped["crema-d"])
    assert corpus.known_unusable == {"1076_MTI_SAD_XX"}
    assert "1076_MTI_SAD_XX" in corpus.utterances.index


def test_crema_d_lfs_pointers_are_told(trapped: dict[str, Path], crema: Path) -> None:
    notes = crema_d.load(trapped["crema-d"]).notes
    assert any(note.startswith("1 sound files are as short as git-lfs") for note in notes)
    for path in (crema / "AudioWAV").iterdir():
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(SerbenchError, match=r"are git-lfs pointers, not sound\. Type: git -C .* lfs pull"):
        crema_d.load(crema)


def test_crema_d_two_files_for_one_id(crema: Path) -> None:
    shutil.copy(crema / "AudioWAV/1001_IEO_ANG_XX.wav", crema / "AudioWAV/1001_ieo_ang_xx.WAV")
    with pytest.raises(SerbenchError, match="two files for one id, 1001_IEO_ANG_XX"):
        crema_d.load(crema)


def test_crema_d_the_mp3_of_every_clip_is_no_orphan(crema: Path) -> None:
    _touch(crema, "AudioMP3/1001_IEO_ANG_XX.mp3", "mine/1001_IEO_ANG_XX.mp3")
    corpus = crema_d.load(crema)
    assert _orphans(corpus, set(corpus.utterances["path"])) == ["mine/1001_IEO_ANG_XX.mp3"]


def test_crema_d_without_list_people_and_votes(crema: Path) -> None:
    for name in ("SentenceFilenames.csv", "VideoDemographics.csv"):
        (crema / name).unlink()
    shutil.rmtree(crema / "processedResults")
    (crema / "AudioWAV/readme of mine.wav").write_bytes(b"")
    corpus = crema_d.load(crema)
    assert len(corpus.utterances) == SIZES["crema-d"]
    assert corpus.utterances["gender"].isna().all()
    assert "soft_anger" not in corpus.utterances
    told = " ".join(corpus.notes)
    parts = ("SentenceFilenames.csv", "VideoDemographics.csv", "tabulatedVotes.csv", "README OF MINE")
    assert all(part in told for part in parts)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("SentenceFilenames.csv", "Filename", "Name", r"lacks the column\(s\) Filename"),
        ("SentenceFilenames.csv", "1001_IEO_ANG_XX", "1001_IEO_GLE_XX", "unknown class 'GLE' of '1001_IEO_GLE_XX'"),
        ("SentenceFilenames.csv", "1001_IEO_ANG_XX", "1001_ZZZ_ANG_XX", "not named like 1001_DFA_ANG_XX"),
        ("SentenceFilenames.csv", "1001_IEO_ANG_XX", "../../1001_IEO_ANG_XX", "leaves the corpus root"),
        ("SentenceFilenames.csv", "1001_IEO_ANG_XX", "1001_IEO_DIS_XX", "two rows for one id: '1001_IEO_DIS_XX'"),
        ("VideoDemographics.csv", "Sex", "Gender", r"lacks the column\(s\) Sex"),
        ("VideoDemographics.csv", '"1001",20', '"1001","old"', "Age of '1001' in .* is 'old'"),
        ("VideoDemographics.csv", '"1002"', '"1001"', "two rows for one id: '1001'"),
        (VOTES, '"fileName"', '"file"', r"lacks the column\(s\) fileName"),
        (VOTES, '"100001",6', '"100001","six"', "A of '1001_IEO_ANG_XX' in .* is 'six'"),
        (VOTES, '"200001"', '"100001"', "two rows for one id"),
    ],
)
def test_crema_d_bad_files(crema: Path, file: str, old: str, new: str, message: str) -> None:
    _edit(crema / file, lambda text: text.replace(old, new, 1))
    with pytest.raises(SerbenchError, match=message):
        crema_d.load(crema)


# ---- MSP-IMPROV -----------------------------------------------------------------------------------------------------


@pytest.fixture
def improv(roots: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the label file alone, that a test may spoil."""
    shutil.copy(roots["msp-improv"] / "Evaluation.txt", tmp_path)
    return tmp_path


def test_msp_improv_loads_from_the_label_file_alone(improv: Path, roots: dict[str, Path]) -> None:
    alone, whole = msp_improv.load(improv), msp_improv.load(roots["msp-improv"])
    assert alone.utterances.index.equals(whole.utterances.index)
    assert alone.utterances["path"].equals(whole.utterances["path"])
    assert alone.utterances["text"].isna().all()
    assert whole.utterances["text"].notna().all()


def test_msp_improv_published_counts_add_up() -> None:
    counts = msp_improv.EXPECTED
    classes = [v for k, v in counts.items() if k.startswith("emotion=")]
    assert sum(classes) == 7798
    assert sum(classes) + counts["raw_emotion=O"] + counts["raw_emotion=X"] == counts["utterances"] == 8438
    assert sum(v for k, v in counts.items() if k.startswith("condition=")) == 8438


def test_msp_improv_name_grammar() -> None:
    name = _improv_files.parse_name("S07H-M03-T-MF12")
    assert name == _improv_files.TurnName("07", "H", "M", "03", "T", "MF", 12)
    assert _improv_files.parse_name("S07H-M03-Q-MF12") is None


@pytest.mark.parametrize("which", ["plain", "traps"])
def test_msp_improv_speaker_is_the_letter_that_says_the_target_sentences(
    roots: dict[str, Path], trapped: dict[str, Path], which: str
) -> None:
    corpus = msp_improv.load((roots if which == "plain" else trapped)["msp-improv"])
    table = corpus.utterances
    position = 0 if which == "plain" else 1
    letters = table.index.str.split("-").str[-1].str[position]
    assert (table["speaker"].str[0] == letters).all()
    assert (table["gender"] == letters.map({"F": "female", "M": "male"})).all()
    targets = table["condition"].isin(["target read", "target improvised"])
    assert (table["speaker"] == table["target_actor"])[targets].all()
    assert (table["speaker"] != table["target_actor"])[~targets].any()
    assert any(f"the {'first' if which == 'plain' else 'second'} letter" in note for note in corpus.notes)
    assert table["speaker"].nunique() == 12


def test_msp_improv_speaker_letter_that_cannot_be_told(improv: Path) -> None:
    blocks = (improv / "Evaluation.txt").read_text().split("\n\n")
    kept = [b for b in blocks if b and b.split("-")[4] in "SP"]
    (improv / "Evaluation.txt").write_text("\n\n".join(kept))
    first, second = msp_improv.load(improv), msp_improv.load(improv, speaker_letter="second")
    assert any("can't be told" in note for note in first.notes)
    assert (first.utterances["speaker"] != second.utterances["speaker"]).all()


def test_msp_improv_activation_may_be_stored_upside_down(roots: dict[str, Path], trapped: dict[str, Path]) -> None:
    plain, turned = msp_improv.load(roots["msp-improv"]), msp_improv.load(trapped["msp-improv"])
    for corpus in (plain, turned):
        means = corpus.utterances.groupby("emotion")["arousal"].mean()
        assert means["anger"] > means["sadness"]
    assert (plain.utterances["arousal"] == plain.utterances["arousal_in_file"]).all()
    np.testing.assert_allclose(turned.utterances["arousal"], 6.0 - turned.utterances["arousal_in_file"])
    as_is = msp_improv.load(trapped["msp-improv"], arousal="as-is").utterances
    assert (as_is["arousal"] == as_is["arousal_in_file"]).all()
    assert any("6 - A" in note for note in turned.notes)


def test_msp_improv_values_may_be_nan(trapped: dict[str, Path]) -> None:
    corpus = msp_improv.load(trapped["msp-improv"])
    assert corpus.utterances["dominance"].isna().sum() == 1
    assert len(corpus.items(corpus.task("arousal"))) == len(corpus.utterances)
    assert len(corpus.items(corpus.task("dominance"))) == len(corpus.utterances) - 1


def test_msp_improv_prefix_of_labels_and_sounds_differ(roots: dict[str, Path]) -> None:
    corpus = msp_improv.load(roots["msp-improv"])
    assert "UTD-IMPROV-S01A-F01-R-FM01.avi" in (roots["msp-improv"] / "Evaluation.txt").read_text()
    assert corpus.row("MSP-IMPROV-S01A-F01-R-FM01")["path"] == "session1/S01A/R/MSP-IMPROV-S01A-F01-R-FM01.wav"


def test_msp_improv_other_spelling_and_audio_folder(trapped: dict[str, Path]) -> None:
    root = trapped["msp-improv"]
    assert (root / "Evalution.txt").is_file()
    assert msp_improv.load(root).utterances["path"].str.startswith("Audio/session").all()


def test_msp_improv_soft_labels_are_shares_of_the_raters(roots: dict[str, Path]) -> None:
    corpus = msp_improv.load(roots["msp-improv"])
    votes = msp_improv.ratings(roots["msp-improv"])
    item = corpus.utterances.index[corpus.utterances["raw_emotion"] == "X"][0]
    shares = votes[votes["id"] == item]["label"].value_counts(normalize=True)
    row = corpus.row(item)
    for column, word in (("soft_neutral", "Neutral"), ("soft_sadness", "Sad"), ("soft_other", "Other")):
        assert row[column] == shares[word]
    assert pd.isna(row["emotion"])
    assert row["raters"] == 5


def test_msp_improv_repeated_and_odd_rater_lines_are_told(trapped: dict[str, Path]) -> None:
    corpus = msp_improv.load(trapped["msp-improv"])
    told = " ".join(corpus.notes)
    assert "1 rater lines repeat" in told
    assert "no answer given" in told
    assert corpus.utterances["raters"].max() == 6


def test_msp_improv_context_is_what_the_numbers_give(roots: dict[str, Path]) -> None:
    table = msp_improv.load(roots["msp-improv"]).utterances
    assert table["interlocutor"].isna().all()
    known = table["previous"].dropna()
    assert len(known) > 0
    for item, previous in known.items():
        before, after = table.loc[previous], table.loc[item]
        assert (before["speaker"], before["dialogue"]) == (after["speaker"], after["dialogue"])
        assert before["turn_number"] < after["turn_number"]
    assert table.loc[table["condition"] == "target read", "previous"].isna().all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("; V:", "; W:", "lacks valence"),
        ("A:", "A:high ", r"arousal in line 1 of .* is 'high"),
        ("-R-FM01.avi", "-Q-FM01.avi", "line 1 of .* can't be read"),
        ("UTD-IMPROV-S01A-F01-R-FM01.avi; ", "UTD-IMPROV-S01A-F01-R-FM01.avi; J", "unknown class"),
        ("UTD-IMPROV-S01A-F01-R-FM01.avi", "../../UTD-IMPROV-S01A-F01-R-FM01.avi", "stands before any turn"),
        ("UTD-IMPROV-S01A-F01-R-FM01.avi", "UTD-IMPROV-../../S01A-F01-R-FM01.avi", "can't be read"),
    ],
)
def test_msp_improv_bad_label_lines(improv: Path, old: str, new: str, message: str) -> None:
    _edit(improv / "Evaluation.txt", lambda text: text.replace(old, new, 1))
    with pytest.raises(SerbenchError, match=message):
        msp_improv.load(improv)


def test_msp_improv_doubled_turn(improv: Path) -> None:
    _edit(improv / "Evaluation.txt", lambda text: text + text)
    with pytest.raises(SerbenchError, match="is the second one for MSP-IMPROV-S01A-F01-R-FM01"):
        msp_improv.load(improv)


def test_msp_improv_two_sound_files_for_one_turn(roots: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(roots["msp-improv"], tmp_path, dirs_exist_ok=True)
    name = "MSP-IMPROV-S01A-F01-R-FM01.wav"
    shutil.copy(tmp_path / "session1/S01A/R" / name, tmp_path / "session1" / name)
    with pytest.raises(SerbenchError, match="two files for one id, MSP-IMPROV-S01A-F01-R-FM01"):
        msp_improv.load(tmp_path)


def test_msp_improv_empty_label_file(tmp_path: Path) -> None:
    (tmp_path / "Evaluation.txt").write_bytes(b"")
    with pytest.raises(SerbenchError, match="not empty"):
        msp_improv.load(tmp_path)


def test_msp_improv_unknown_options(roots: dict[str, Path]) -> None:
    with pytest.raises(SerbenchError, match="unknown value of speaker_letter"):
        msp_improv.load(roots["msp-improv"], speaker_letter="third")
    with pytest.raises(SerbenchError, match="unknown value of arousal"):
        msp_improv.load(roots["msp-improv"], arousal="up")
