"""Pre-trained encoders that have seen an emotion corpus, by what their public model cards say.

A score on a corpus that the encoder was trained on, labels and all, measures memory as much as skill. The table is
small and can't be complete; so beside it, a name that holds a corpus's name and a checkpoint whose classes are emotions
speak for themselves. Corpora go by their registered names here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EMOBOX = ("crema-d", "emodb", "iemocap", "meld", "msp-podcast", "ravdess", "savee", "tess")
"""Those of the 32 corpora of EmoBox (Ma et al., Interspeech 2024) that are registered here."""

KNOWN: dict[str, tuple[str, ...]] = {
    r"superb/(wav2vec2|hubert)-(base|large)-superb-er": ("iemocap",),
    r"audeering/wav2vec2-.*-emotion-msp-dim": ("msp-podcast",),
    r"autrainer/msp-podcast-.*": ("msp-podcast",),
    r"3loi/ser-odyssey-baseline-wavlm-.*": ("msp-podcast",),
    r"speechbrain/emotion-recognition-wav2vec2-iemocap": ("iemocap",),
    r"speechbrain/emotion-diarization-wavlm-large": ("iemocap", "ravdess"),
    r"ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition": ("ravdess",),
    r"areejb/wav2vec2-xlsr-english-speech-emotion-recognition": ("ravdess",),
    r"padmalcom/wav2vec2-large-emotion-detection-german": ("emodb",),
    r"(emotion2vec|iic)/emotion2vec_plus_.*": EMOBOX,
}
"""Pattern of a name on the Hugging Face hub -> corpora, from the model cards (seen November 2026)."""

MENTIONS: dict[str, str] = {
    "iemocap": "iemocap",
    "msp[-_]?podcast": "msp-podcast",
    "msp[-_]?improv": "msp-improv",
    "ravdess": "ravdess",
    "crema": "crema-d",
    "emo[-_]?db": "emodb",
    "(?<![a-z])tess(?![a-z])": "tess",
    "savee": "savee",
    "(?<![a-z])meld(?![a-z])": "meld",
    "(?<![a-z])sewa(?![a-z])": "sewa",
}
EMOTIONS = frozenset(
    {
        "angry",
        "anger",
        "ang",
        "sad",
        "sadness",
        "happy",
        "happiness",
        "hap",
        "fear",
        "fearful",
        "disgust",
        "arousal",
        "valence",
        "dominance",
    }
)
TUNED = "encoder:tuned on emotions"
"""Label of a checkpoint whose own classes are emotions: what it was trained on should be looked up."""


def corpora_seen(name: str, config: Mapping[str, Any] | None = None) -> frozenset[str]:
    """Registered names of the corpora that an encoder was trained on, as far as is known.

    Parameters
    ----------
    name : folder or name on the hub
    config : contents of its config.json, which keeps the name that a copied checkpoint had
    """
    seen: set[str] = set()
    for candidate in _names(name, config or {}):
        for pattern, corpora in KNOWN.items():
            if re.fullmatch(pattern, candidate) or re.fullmatch(pattern.partition("/")[2], candidate):
                seen |= set(corpora)
        seen |= {corpus for pattern, corpus in MENTIONS.items() if re.search(pattern, candidate)}
    return frozenset(seen)


def tuned_on_emotions(config: Mapping[str, Any]) -> bool:
    """Whether the classes (or targets) of a checkpoint are emotions."""
    labels = config.get("id2label") or {}
    return any(str(label).lower() in EMOTIONS for label in labels.values())


def _names(name: str, config: Mapping[str, Any]) -> set[str]:
    """What a checkpoint may be called: as typed, its folder's name, a cache folder's repository, its own memory."""
    names = {Path(name).name, str(config.get("_name_or_path") or "")}
    names |= {name} if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else set()
    names |= {part.removeprefix("models--").replace("--", "/") for part in Path(name).parts if "models--" in part}
    return {n.lower() for n in names if n}
