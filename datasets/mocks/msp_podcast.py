"""A miniature MSP-Podcast in the layout of a release from 1.6 to 2.0, with synthetic voices and invented sentences.

Spelling of the consensus file, shape of the detailed one, names of the partitions, Test3 and the folder of previous
releases are those of the release. A folder `Unlabelled` holds a pool of a fifth more segments.

With `traps`: a byte-order mark, segments cut twice (three numbers in the name), unknown speakers and genders,
AppleDouble stubs, folders nested under their own name, free text of raters with a semicolon in it, ratings without
numbers (2.0), a sound file at 44.1 kHz in stereo, one that is gone and one that no label knows, a missing transcript, a
segment that Partitions.txt has in another partition.

At its published size (release 1.6 alone) it has the 50,362 segments that Lin, Sridhar and Busso (ICASSP 2021, section
3) count, and a pool of 40,000, to learn what work on all of it takes: segments are 5.97 s long on average, as there.
There are `RECORDINGS` different ones in each partition, all other files are hard links to them; no transcripts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import SerbenchError, unknown
from ..core.files import write_json, write_text
from ..msp_podcast.labels import RELEASES
from ..schema.labels import VOCABULARIES
from ._common import AFFECT, csv_text, on_scale, sentence, spread, voice_of, write_lines, write_stub, write_wav
from ._textgrid import textgrid

RATE = 16000
WORDS = {
    "A": "Angry",
    "S": "Sad",
    "H": "Happy",
    "U": "Surprise",
    "F": "Fear",
    "D": "Disgust",
    "C": "Contempt",
    "N": "Neutral",
    "O": "Other-tired",
}
SECONDARY = ("", "Neutral,Concerned", "Amused", "Frustrated,Annoyed", "Excited")
SHARES = {"Train": 0.5, "Development": 0.15, "Test1": 0.2, "Test2": 0.1, "Test3": 0.05}
SPEAKERS = {"Train": 8, "Development": 4, "Test1": 6, "Test2": 4, "Test3": 4, "Unlabelled": 4}
CLASSES = ("N", "H", "A", "S", "U", "D", "C", "F", "N", "H", "A", "S", "X", "O")
PUBLISHED = {"1.6": {"Train": 34280, "Validation": 5958, "Test": 10124}}
POOL, RECORDINGS, LONG = 40_000, 24, (2.75, 9.19)
"""At the published size: segments of the pool, different recordings of a partition, their shortest and longest [s]."""
HEADER = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")


@dataclass
class Segment:
    """One segment; ratings are (worker, word, secondary words, activation, valence, dominance)."""

    name: str
    emo_class: str
    speaker: str
    gender: str
    partition: str
    text: str
    seconds: float
    ratings: list[tuple[str, str, str, float, float, float]]

    def mean(self, column: int) -> float:
        """Mean over the raters of a column of `ratings`."""
        return float(np.mean([r[column] for r in self.ratings]))

    def row(self) -> dict[str, str]:
        """The sentence's line of the consensus labels."""
        values = (f"{self.name}.wav", self.emo_class, *(f"{self.mean(c):.6g}" for c in (3, 4, 5)))
        return dict(zip(HEADER, (*values, self.speaker, self.gender, self.partition), strict=True))


def write(
    folder: Path,
    *,
    release: str | None = None,
    utterances: int = 160,
    traps: bool = False,
    seed: int = 0,
    published: bool = False,
) -> None:
    """Write the miniature corpus into `folder` (made if need be); release 1.12 where none is given.

    `published` writes as many segments as the release is published with, in place of `utterances`.

    Raises
    ------
    SerbenchError
        For a release that does not exist, fewer than 60 utterances, or a release that has no published size here.
    """
    version = release or "1.12"
    if version not in RELEASES:
        raise unknown("release of msp-podcast", version, RELEASES)
    if published:
        _write_published(folder, version, seed)
        return
    if utterances < 60:
        raise SerbenchError(
            f"a miniature MSP-Podcast of {utterances} segments has no room for its partitions. Ask for 60 or more."
        )
    segments = plan(utterances, version, seed, traps=traps)
    pool = _segments("Unlabelled", max(8, utterances // 5), 900, np.random.default_rng((seed, 29)), traps=False)
    nested = {"Audios": "Audios/Audios", "Transcripts": "Transcripts/transcripts"} if traps else {}
    write_labels(folder, segments, version, traps=traps)
    _write_text_side(folder, [s for s in segments if s.partition != "Test3"], nested.get("Transcripts", "Transcripts"))
    audios = folder / nested.get("Audios", "Audios")
    _write_audio(audios, segments, seed)
    _write_audio(folder / "Unlabelled", pool, seed + 1)
    if traps:
        _trap_files(folder, audios, segments)


def _write_published(folder: Path, release: str, seed: int) -> None:
    if release not in PUBLISHED:
        raise SerbenchError(
            f"release {release} of msp-podcast has no published size here. Type --release {', '.join(PUBLISHED)}."
        )
    rng, first, segments = np.random.default_rng((seed, 31)), 1, []
    for number, (partition, count) in enumerate({**PUBLISHED[release], "Unlabelled": POOL}.items()):
        part = _segments(partition, count, first, rng, traps=False, people=count // 40)
        first += count // 40
        for segment, seconds in zip(part, np.linspace(*LONG, RECORDINGS), strict=False):
            segment.seconds = round(float(seconds), 2)
        spoken, place = part[:RECORDINGS], folder / ("Audios" if partition != "Unlabelled" else partition)
        _write_audio(place, spoken, seed + number)
        for k, segment in enumerate(part[RECORDINGS:]):
            os.link(place / f"{spoken[k % RECORDINGS].name}.wav", place / f"{segment.name}.wav")
        segments += part if partition != "Unlabelled" else []
    write_labels(folder, segments, release)


def plan(utterances: int, release: str, seed: int, *, traps: bool = False) -> list[Segment]:
    """Segments of all partitions that the release has; each partition has its own speakers and podcasts."""
    rng = np.random.default_rng((seed, 23))
    first, segments = 1, []
    for partition, count in _counts(utterances, release).items():
        segments += _segments(partition, count, first, rng, traps=traps)
        first += SPEAKERS.get(partition, 4)
    return segments


def _counts(utterances: int, release: str) -> dict[str, int]:
    version = RELEASES.index(release)
    shares = dict(SHARES)
    if version < RELEASES.index("1.11"):
        shares["Train"] += shares.pop("Test3")
    if release == "1.6":
        shares = {"Train": 0.55, "Development": 0.15, "Test": 0.3}
    if version < RELEASES.index("1.10"):
        shares = {"Validation" if name == "Development" else name: share for name, share in shares.items()}
    counts = {name: round(utterances * share) for name, share in shares.items()}
    counts["Train"] += utterances - sum(counts.values())
    return counts


def _segments(
    partition: str, count: int, first: int, rng: np.random.Generator, *, traps: bool, people: int = 0
) -> list[Segment]:
    classes = spread(CLASSES, count, rng)
    people = people or SPEAKERS.get(partition, 4)
    segments = []
    for i, code in enumerate(classes):
        person = first + i % people
        unnamed = traps and partition == "Train" and i % people == 0
        name = f"MSP-PODCAST_{person:04d}_{10 * (i // people) + 3:04d}" + ("_0001" if traps and i % 3 == 1 else "")
        if partition == "Test3":
            name = f"MSP-PODCAST_test3_{i + 1:04d}"
        emotion = VOCABULARIES["msp-podcast"][code]
        segments.append(
            Segment(
                name,
                code,
                "Unknown" if unnamed else str(person),
                "Unknown" if unnamed else ("Female", "Male")[person % 2],
                partition,
                sentence(emotion, rng),
                round(float(rng.uniform(2.75, 3.6)), 2),
                _ratings(code, rng, traps and i % 7 == 2),
            )
        )
    return segments


def _ratings(code: str, rng: np.random.Generator, odd: bool) -> list[tuple[str, str, str, float, float, float]]:
    """Five raters: three agree on the class, or, for X, two and two and one."""
    words = list(WORDS.values())
    if code == "X":
        a, b, c = (str(w) for w in rng.choice(words, 3, replace=False))
        said = [a, a, b, b, c]
    else:
        said = [WORDS[code]] * 3 + [str(w) for w in rng.choice(words, 2)]
    if odd:
        said[-1] = "Other-bored; a bit (sleepy)"
    arousal, valence = AFFECT[VOCABULARIES["msp-podcast"][code] or "other"]
    ratings = []
    for number, word in enumerate(said):
        marks = (int(np.clip(round(on_scale(x, 1, 7) + rng.normal(0, 0.8)), 1, 7)) for x in (arousal, valence, arousal))
        worker = f"WORKER{(int(rng.integers(90)) * 10 + number):08d}"
        ratings.append((worker, word, str(rng.choice(SECONDARY)), *(float(m) for m in marks)))
    return ratings  # type: ignore[return-value]


def write_labels(folder: Path, segments: list[Segment], release: str, *, traps: bool = False) -> None:
    """Write readme, partitions and all label files as that release has them."""
    labelled = [s for s in segments if s.partition != "Test3"]
    labels = folder / "Labels"
    spelt = "concensus" if RELEASES.index(release) < RELEASES.index("1.10") else "consensus"
    write_lines(folder / "readme.txt", ["MSP-Podcast corpus", f"Release {release} (miniature copy, synthetic voices)"])
    rows = [s.row() for s in labelled]
    mark = "\ufeff" if traps else ""
    write_text(labels / f"labels_{spelt}.csv", mark + csv_text(HEADER, rows))
    write_json(labels / f"labels_{spelt}.json", {r["FileName"]: {k: r[k] for k in HEADER[1:]} for r in rows})
    write_text(labels / "labels_detailed.csv", _detailedcsv_text(labelled, release, traps))
    write_json(labels / "labels_detailed.json", {f"{s.name}.wav": _rating_object(s) for s in labelled})
    write_text(labels / "labels.txt", "".join(_block(s) for s in labelled))
    _write_partitions(folder, segments, traps)
    if RELEASES.index(release) >= RELEASES.index("1.11"):
        old = folder / "Previous_releases_information/previous_releases_info/v1.9/labels"
        write_text(old / "labels_concensus.csv", csv_text(HEADER, [{**r, "EmoClass": "N"} for r in rows]))


def _rating_line(rating: tuple[str, str, str, float, float, float]) -> str:
    worker, word, second, activation, valence, dominance = rating
    return f"{worker}; {word}; {second}; A:{activation:.6f}; V:{valence:.6f}; D:{dominance:.6f};"


def _detailedcsv_text(segments: list[Segment], release: str, traps: bool) -> str:
    pairs = [(f"{s.name}.wav", rating) for s in segments for rating in s.ratings]
    if release not in ("1.6", "2.0"):
        return csv_text(("FileName", "EmoDetail"), [{"FileName": n, "EmoDetail": _rating_line(r)} for n, r in pairs])
    old = release == "1.6"
    marks = ("EmoAct", "EmoDom", "EmoVal") if old else ("EmoAct", "EmoVal", "EmoDom")
    header = ("FileName", "Workers" if old else "WorkerID", "EmoClass_Major", "EmoClass_Second", *marks)
    rows = []
    for i, (name, (worker, word, second, activation, valence, dominance)) in enumerate(pairs):
        value: dict[str, object] = {"EmoAct": activation, "EmoVal": valence, "EmoDom": dominance}
        if traps and not old and i % 40 == 7:
            value["EmoDom"] = "NaN"
        rows.append(dict(zip(header, (name, worker, word, second, *(value[m] for m in marks)), strict=True)))
    return csv_text(header, rows)


def _rating_object(segment: Segment) -> dict[str, dict[str, str]]:
    keys = ("EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom")
    order = ("EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoDom", "EmoVal")
    objects = {r[0]: dict(zip(keys, map(str, r[1:]), strict=True)) for r in segment.ratings}
    return {worker: {key: values[key] for key in order} for worker, values in objects.items()}


def _block(segment: Segment) -> str:
    a, v, d = (f"{segment.mean(c):.6g}" for c in (3, 4, 5))
    lines = [f"{segment.name}.wav; {segment.emo_class}; A:{a}; V:{v}; D:{d};", *map(_rating_line, segment.ratings)]
    return "\n".join(lines) + "\n\n"


def _write_partitions(folder: Path, segments: list[Segment], traps: bool) -> None:
    groups: dict[str, list[str]] = {}
    for segment in segments:
        groups.setdefault(segment.partition, []).append(f"{segment.partition}; {segment.name}.wav")
    if traps:
        groups["Train"][0] = groups["Train"][0].replace("Train;", next(p for p in groups if p.startswith("Test")) + ";")
    write_text(folder / "Partitions.txt", "\n\n".join("\n".join(lines) for lines in groups.values()) + "\n")
    write_lines(folder / "Speaker_ids.txt", [f"{s.name}.wav; {s.speaker}" for s in segments if s.partition != "Test3"])


def _write_text_side(folder: Path, segments: list[Segment], transcripts: str) -> None:
    for segment in segments:
        write_text(folder / transcripts / f"{segment.name}.txt", segment.text)
        write_text(folder / "ForceAligned" / f"{segment.name}.TextGrid", textgrid(segment.text, segment.seconds))


def _write_audio(folder: Path, segments: list[Segment], seed: int) -> None:
    for number, segment in enumerate(segments):
        gender = "male" if segment.gender == "Male" else "female"
        emotion = VOCABULARIES["msp-podcast"][segment.emo_class]
        voice = voice_of(emotion, segment.seconds, seed * 100_003 + number, gender, RATE)
        write_wav(folder / f"{segment.name}.wav", voice, RATE)


def _trap_files(folder: Path, audios: Path, segments: list[Segment]) -> None:
    train = [s for s in segments if s.partition == "Train"]
    write_stub(audios / f"{train[0].name}.wav")
    (audios / f"{train[1].name}.wav").unlink()
    (folder / "Transcripts/transcripts" / f"{train[2].name}.txt").unlink()
    voice = voice_of("neutral", train[3].seconds, 5, "female", 44100)
    write_wav(audios / f"{train[3].name}.wav", np.stack([voice, voice], axis=1), 44100)
    write_wav(audios / "MSP-PODCAST_0999_0001.wav", voice_of("neutral", 2.75, 6, "male", RATE), RATE)
