"""Miniature RAVDESS, CREMA-D, TESS, SAVEE and MSP-IMPROV in their layouts, with synthetic voices.

`write(folder, corpus=NAME, ...)`, or a corpus's own function from `WRITERS`. Speakers keep their gender, labels agree
with the sound, and every fold of the corpus's default split has every class where `utterances` allows it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from .. import crema_d, savee, tess
from ..core.errors import SerbenchError, unknown
from ..core.files import write_text
from ..schema.labels import VOCABULARIES
from ._common import AFFECT, on_scale, sentence, share, speak, spread, voice_of, write_lines, write_stub, write_wav

RATES = {"ravdess": 48000, "crema-d": 16000, "tess": 24414, "savee": 44100, "msp-improv": 48000}
"""Corpus -> sampling rate in Hz of the published files."""
WORDS = (
    "back", "bar", "bath", "bone", "cab", "cause", "chat", "deep", "dog", "door", "fail", "far", "fit", "gap", "goal",
    "half", "hire", "home", "jail", "join",
)  # fmt: skip


def write(
    folder: Path,
    *,
    corpus: str,
    release: str | None = None,
    utterances: int | None = None,
    traps: bool = False,
    seed: int = 0,
) -> None:
    """Write the miniature of a corpus into `folder` (made if need be); `utterances` None = that corpus's default.

    Raises
    ------
    SerbenchError
        For an unknown corpus, or a release (they have one each).
    """
    if corpus not in _MAKERS:
        raise unknown("miniature corpus", corpus, _MAKERS)
    if release:
        raise SerbenchError(f"{corpus} has one release, but {release!r} was asked for. Leave --release out.")
    size = {} if utterances is None else {"utterances": utterances}
    _MAKERS[corpus](folder, traps=traps, seed=seed, **size)


def write_ravdess(folder: Path, *, utterances: int = 192, traps: bool = False, seed: int = 0) -> None:
    """`Actor_NN/03-01-...wav` of 24 actors; traps: tracks of video, song, a stub, a foreign name, a stereo file."""
    rng = np.random.default_rng((seed, 19))
    takes = []
    for emotion in VOCABULARIES["ravdess"]:
        for intensity in ("01", "02")[: 1 if emotion == "01" else 2]:
            takes += [(emotion, intensity, s, r) for s in ("01", "02") for r in ("01", "02")]
    order = sorted(takes, key=lambda t: (t[2], t[3], t[1], t[0]))  # all emotions first, then further takes
    per_actor = share(utterances, 24, len(order))
    for actor in range(1, 25):
        gender = "male" if actor % 2 else "female"
        for emotion, intensity, statement, repetition in order[: per_actor[actor - 1]]:
            name = f"03-01-{emotion}-{intensity}-{statement}-{repetition}-{actor:02d}"
            path = folder / f"Actor_{actor:02d}" / f"{name}.wav"
            speak(path, VOCABULARIES["ravdess"][emotion], gender, RATES["ravdess"], rng)
    if traps:
        first = folder / "Actor_01"
        for name in ("01-01-03-01-01-01-01", "03-02-03-01-01-01-01", "notes of the session"):
            speak(first / f"{name}.wav", "happiness", "male", RATES["ravdess"], rng)
        mono = voice_of("neutral", 0.8, 1, "male", RATES["ravdess"])
        write_wav(first / "03-01-01-01-01-01-01.wav", np.stack([mono, mono], axis=1), RATES["ravdess"])
        write_stub(first / "03-01-01-01-01-01-01.wav")


def write_crema_d(folder: Path, *, utterances: int = 144, traps: bool = False, seed: int = 0) -> None:
    """`AudioWAV/1001_DFA_ANG_XX.wav`, the list, demographics and votes; traps: the silent clip, lfs pointers, ties."""
    rng = np.random.default_rng((seed, 23))
    actors = {str(1001 + i): "female" if i % 3 else "male" for i in range(11)} | {"1076": "female"}
    clips = [(e, s) for s in crema_d.SENTENCES for e in VOCABULARIES["crema-d"]]
    counts = share(utterances, len(actors), len(clips))
    names = []
    for (actor, gender), count in zip(actors.items(), counts, strict=True):
        for emotion, sentence_code in clips[:count]:
            name = f"{actor}_{sentence_code}_{emotion}_XX"
            names.append((name, emotion))
            speak(folder / f"AudioWAV/{name}.wav", VOCABULARIES["crema-d"][emotion], gender, RATES["crema-d"], rng)
    if traps:
        if ("1076_MTI_SAD_XX", "SAD") not in names:
            names.append(("1076_MTI_SAD_XX", "SAD"))
        write_wav(folder / "AudioWAV/1076_MTI_SAD_XX.wav", np.zeros(16000, np.float32), RATES["crema-d"])
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 66000\n"
        write_text(folder / f"AudioWAV/{names[0][0]}.wav", pointer)
        write_stub(folder / f"AudioWAV/{names[1][0]}.wav")
    listed = [{"Stimulus_Number": i, "Filename": name} for i, (name, _) in enumerate(names, 1)]
    _write_csv(folder / "SentenceFilenames.csv", listed)
    people = [{"ActorID": a, "Age": 20 + i, "Sex": g.capitalize(), "Race": "Unknown", "Ethnicity": "Not Hispanic"}
              for i, (a, g) in enumerate(actors.items())]  # fmt: skip
    _write_csv(folder / "VideoDemographics.csv", people)
    rows = [_vote_row(kind, i, name, emotion, traps and i == 3, rng)
            for kind in (1, 2, 3) for i, (name, emotion) in enumerate(names, 1)]  # fmt: skip
    _write_csv(folder / "processedResults/tabulatedVotes.csv", rows)


def write_tess(folder: Path, *, utterances: int = 112, traps: bool = False, seed: int = 0) -> None:
    """`OAF_angry/OAF_back_angry.wav`; traps: a speaker `OA`, folders spelt in several ways, upper case, a stub."""
    rng = np.random.default_rng((seed, 29))
    counts = share(utterances, 2, len(WORDS) * 7)
    for speaker, count in zip(tess.SPEAKERS, counts, strict=True):
        takes = [(word, emotion) for word in WORDS for emotion in VOCABULARIES["tess"]][:count]
        for word, emotion in takes:
            place = {"ps": "pleasant_surprise", "sad": "Sad"}.get(emotion, emotion) if traps else emotion
            start = "OA" if traps and (speaker, word, emotion) == ("OAF", "back", "neutral") else speaker
            name = f"{start}_{word}_{emotion}.wav"
            name = name.upper().replace(".WAV", ".wav") if traps and word == "bar" else name
            path = folder / f"{speaker}_{place}" / name
            speak(path, VOCABULARIES["tess"][emotion], "female", RATES["tess"], rng, 0.7)
    if traps:
        write_stub(folder / "YAF_angry/YAF_back_angry.wav")


def write_savee(folder: Path, *, utterances: int = 112, traps: bool = False, seed: int = 0) -> None:
    """`AudioData/DC/a01.wav`; traps: the flat layout `DC_a01.wav`, an `Info.txt`, a stub."""
    rng = np.random.default_rng((seed, 31))
    takes = sorted(
        [(code, number) for code in VOCABULARIES["savee"] for number in range(1, 31 if code == "n" else 16)],
        key=lambda take: (take[1], take[0]),
    )
    counts = share(utterances, 4, len(takes))
    for speaker, count in zip(savee.SPEAKERS, counts, strict=True):
        for code, number in takes[:count]:
            place = f"{speaker}_{code}{number:02d}" if traps else f"AudioData/{speaker}/{code}{number:02d}"
            speak(folder / f"{place}.wav", VOCABULARIES["savee"][code], "male", RATES["savee"], rng)
    if traps:
        write_lines(folder / "Info.txt", ["a miniature"])
        write_stub(folder / "DC_a01.wav")


def write_msp_improv(folder: Path, *, utterances: int = 144, traps: bool = False, seed: int = 0) -> None:
    """`session1/S01A/S/*.wav` and the label file.

    Traps: the label file's other spelling, `Audio/` above the sessions, the second letter as speaker's, activation
    turned around, NaN values, a repeated and an odd rater line, a Latin-1 byte, a stub.
    """
    rng = np.random.default_rng((seed, 37))
    lines: list[str] = []
    for k, (name, speaker, emotion) in enumerate(_improv_turns(utterances, second=traps, rng=rng)):
        session, scene, condition = int(name[6:8]), name[:4], name[9]
        place = f"{'Audio/' if traps else ''}session{session}/{scene}/{condition}/MSP-IMPROV-{name}.wav"
        speak(folder / place, emotion, "female" if speaker == "F" else "male", RATES["msp-improv"], rng)
        lines += _improv_block(name, emotion, k, traps, rng)
        write_lines(folder / "All_human_transcriptions" / f"MSP-IMPROV-{name}.txt", [sentence(emotion, rng)])
        if traps and k == 0:
            write_stub(folder / place)
    text = "\n".join(lines) + "\n"
    path = folder / ("Evalution.txt" if traps else "Evaluation.txt")
    path.write_bytes(text.encode("latin-1"))


def _improv_turns(count: int, *, second: bool, rng: np.random.Generator) -> list[tuple[str, str, str | None]]:
    """Names without prefix, speaking letters and emotions, in scenes of eight turns."""
    emotions = spread(("anger", "happiness", "neutral", "sadness", "neutral", "happiness", "other", None), count, rng)
    turns: list[tuple[str, str, str | None]] = []
    scene = 0
    while len(turns) < count:
        session, target, actor = scene % 6 + 1, "AHNS"[scene // 6 % 4], "FM"[scene // 24 % 2]
        other = "M" if actor == "F" else "F"
        number: dict[tuple[str, str], int] = {}
        for condition, speaker in (("R", actor), ("S", other), ("S", actor), ("T", actor), ("S", other), ("P", actor),
                                   ("P", other), ("P", actor)):  # fmt: skip
            number[condition, speaker] = number.get((condition, speaker), 0) + 1
            letters = speaker + ("M" if speaker == "F" else "F")
            letters = letters[::-1] if second else letters
            sentence_code = f"S{scene // 48 + 1:02d}{target}"
            name = f"{sentence_code}-{actor}{session:02d}-{condition}-{letters}{number[condition, speaker]:02d}"
            if len(turns) < count:
                turns.append((name, speaker, emotions[len(turns)]))
        scene += 1
    return turns


def _improv_block(name: str, emotion: str | None, k: int, traps: bool, rng: np.random.Generator) -> list[str]:
    """The label file's block of a turn, with five raters."""
    arousal, valence = AFFECT[emotion or "other"]
    means = [on_scale(-arousal if traps else arousal, 1, 5), on_scale(valence, 1, 5), on_scale(arousal, 1, 5)]
    code = {"anger": "A", "happiness": "H", "neutral": "N", "sadness": "S", "other": "O", None: "X"}[emotion]
    values = "; ".join(f"{letter}:{value:.6f}" for letter, value in zip("AVD", means, strict=True))
    if traps and k == 2:
        values = values.rsplit("D:", 1)[0] + "D:NaN"
    raters = []
    words = {"A": "Angry", "H": "Happy", "N": "Neutral", "S": "Sad", "O": "Other", "X": "Neutral"}
    for i in range(5):
        word = "Sad" if code == "X" and i >= 3 else "Other" if code == "X" and i == 2 else words[code]
        own = [float(np.clip(np.rint(m + rng.normal(0, 0.4)), 1, 5)) for m in means]
        own_text = "; ".join(f"{letter}:{value:.6f}" for letter, value in zip("AVD", own, strict=True))
        raters.append(f"worker{i:03d}; {word}; {word},; {own_text}; N:4.000000;")
    if traps and k == 0:
        raters += [raters[0], "worker900; Neutral; caf\xe9; A:3.000000; V:3.000000; D:3.000000; N:NaN;"]
    if traps and k == 1:
        raters.append("no answer given")
    return [f"UTD-IMPROV-{name}.avi; {code}; {values} ; N:4.000000;", *raters, ""]


def _vote_row(
    kind: int, number: int, name: str, emotion: str, tie: bool, rng: np.random.Generator
) -> dict[str, object]:
    """A row of the tabulated votes; `kind` 1 are votes by hearing alone, the other kinds vote for something else."""
    codes = list(crema_d.VOTES)
    meant = emotion[0]
    counts = dict.fromkeys(codes, 0)
    counts[meant if kind == 1 else codes[(codes.index(meant) + 1) % 6]] = 6
    counts[codes[int(rng.integers(6))]] += 1
    if tie:
        counts = {code: 4 if code in "AD" else 0 for code in codes}
    most = max(counts.values())
    vote = ":".join(code for code in codes if counts[code] == most)
    total = sum(counts.values())
    return {"": f"{kind}{number:05d}", **counts, "fileName": name, "numResponses": total,
            "agreement": f"{most / total:.6f}", "emoVote": vote, "meanEmoResp": 50}  # fmt: skip


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


_MAKERS: Mapping[str, Callable[..., None]] = {
    "ravdess": write_ravdess, "crema-d": write_crema_d, "tess": write_tess, "savee": write_savee,
    "msp-improv": write_msp_improv,
}  # fmt: skip
WRITERS: Mapping[str, Callable[..., None]] = {name: partial(write, corpus=name) for name in _MAKERS}
"""Corpus -> function (folder, *, release, utterances, traps, seed)."""
