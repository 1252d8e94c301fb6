"""Text: an encoder of text on the transcript of an utterance, frozen or fine-tuned; the voice is not heard.

The rival of semantic fusion's words: what do the words alone say of the emotion? Any encoder of the transformers
library with a fast tokenizer will do (BERT: Devlin, Chang, Lee and Toutanova, NAACL-HLT 2019, arXiv:1810.04805, whose
fine-tuning gave the encoder's step size). It is read from a local folder or the Hugging Face cache, never downloaded.
The states of its tokens are averaged (or the first one is taken), and a head with one hidden layer gives classes or
attributes (z-scores, 1 - CCC).

`frozen`, the encoder stays as it is and its vectors are computed once; else it is trained with a step size of its own.
Texts are the corpus's transcripts (the column text), or those of a CSV file (`model.texts`: columns item and text) such
as `serbench words transcribe` writes, which the signature then says. A corpus without texts is refused. An utterance
without one among others is an empty text, and counted in the record. Where the same text stands in training and in
test, as in acted corpora, the run is refused (see `--allow-leak`).

Presets: `default` (fine-tuned; name the encoder with --set model.encoder=FOLDER), `frozen`, `small`: a tiny BERT of
random weights that reads bytes, for a machine without a checkpoint. It shows what can be learnt without pre-training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest
from ...datasets.schema.task import Task
from ...features.core.feature_request import FeatureRequest
from ..core.sermodel import Data, FitLog, Predictions, Score
from ..inputs.batches import Batch, Batches, even_batches, micro_batches, shuffled
from ..training.objective import LabelScale, Objective
from ..training.settings import FINE_TUNING, TrainConfig
from ..training.torch_model import TorchModel
from ..training.training import Training
from .encoder import Tokens, build_encoder, longest, pooled, text_source
from .texts import file_digest, own_texts, read_texts

__all__ = ["GROUP", "PRESETS", "SEARCH", "TINY", "Config", "Model"]

FREE = "free choice"
_TRAIN = replace(FINE_TUNING, epochs=10, patience=3)


@dataclass(frozen=True)
class Config:
    """Settings of `text`."""

    train: TrainConfig = option(_TRAIN, "training; learning_rate is the head's", source=FREE)  # noqa: RUF009
    encoder: str = option("", "folder, name on the Hugging Face hub, or random:bert-tiny", source=FREE)
    revision: str = option("main", "branch, tag or commit of a repository", source=FREE)
    frozen: bool = option(False, "leave the encoder as it is", source=FREE)
    encoder_rate: float = option(3e-5, "step size of the encoder", source="Devlin et al., section 4.1", low=0)
    pooling: str = option("mean", "of the tokens' states", source=FREE, choices=("mean", "first"))
    tokens: int = option(128, "most tokens of a text", source=FREE, low=4)
    hidden: int = option(128, "dimensions of the head's layer; 0 = none", source=FREE, low=0)
    dropout: float = option(0.1, "of the text's vector and of the layer", source="Devlin et al.", low=0, high=1)
    class_weights: str = option("none", "of the cross-entropy", source=FREE, choices=("none", "balanced"))
    texts: str = option("", "CSV file of texts (columns item, text); empty = the corpus's own", source=FREE)
    digest: str = option("", "of that file and of the encoder; filled in when a run is planned", source=FREE)


GROUP = "encoders"
CITES = ("devlin2019bert",)
PRESETS: dict[str, Config] = {
    "default": Config(),
    "frozen": Config(train=replace(_TRAIN, epochs=60, patience=10), frozen=True),
    "small": Config(
        train=replace(_TRAIN, epochs=15, patience=5), encoder="random:bert-tiny", encoder_rate=1e-3, hidden=32
    ),
}
TINY = Config(
    train=TrainConfig(epochs=40, patience=0, batch_size=8, learning_rate=1e-2),
    encoder="random:bert-tiny",
    encoder_rate=3e-3,
    hidden=16,
    dropout=0.0,
)
SEARCH = {"model.encoder_rate": "1e-5..1e-4:log", "train.learning_rate": "1e-4..3e-3:log"}


class Network(LabelScale):
    """Encoder and head."""

    def __init__(self, encoder: nn.Module, width: int, outputs: int, config: Config) -> None:
        super().__init__(outputs)
        self.encoder, self._frozen, self._pooling = encoder, config.frozen, config.pooling
        encoder.requires_grad_(not config.frozen)
        layers: list[nn.Module] = [nn.Dropout(config.dropout)]
        if config.hidden:
            layers += [nn.Linear(width, config.hidden), nn.LayerNorm(config.hidden), nn.ReLU()]
            layers += [nn.Dropout(config.dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(config.hidden or width, outputs))

    def train(self, mode: bool = True) -> Network:
        """A frozen encoder drops nothing out in training."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    def read(self, numbers: Tensor, mask: Tensor) -> Tensor:
        """One vector per text, (text, width), from its tokens (text, token)."""
        return pooled(self.encoder, numbers, mask, self._pooling)


class Model(TorchModel[Network]):
    """A text encoder with a head."""

    name: ClassVar[str] = "text"
    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})
    config: Config

    def __init__(self, config: Config, task: Task, *arguments: Any) -> None:
        super().__init__(config, task, *arguments)
        self.objective = Objective(task, config.class_weights)
        self._vectors: dict[str, Tensor] = {}

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """None: the sound is not heard."""
        return {}

    @classmethod
    def resolved(cls, config: Config) -> Config:
        """The configuration with the digest of the encoder and of the file of texts."""
        source = text_source(config.encoder, config.revision)
        current = digest([source.identity, source.tokenizer, file_digest(config.texts)], 32)
        if config.digest not in ("", current):
            raise SerbenchError(
                f"the encoder {config.encoder!r} or the texts are not those that the configuration was made with: "
                f"their digest is {current[:16]}, it was {config.digest[:16]}. Put them back, or start a new run."
            )
        return replace(config, digest=current)

    @classmethod
    def labels(cls, config: Config) -> tuple[str, ...]:
        """Who recognised the texts of a file."""
        if not config.texts:
            return ()
        sources = read_texts(config.texts)["source"].dropna().unique()
        return tuple(f"words:{source}" for source in sources) or (f"words:{Path(config.texts).name}",)

    @classmethod
    def reads_text(cls, config: Config) -> bool:
        """Always."""
        return True

    @classmethod
    def needs_text(cls, config: Config) -> bool:
        """Unless a file brings the texts."""
        return not config.texts

    @classmethod
    def takes_words(cls, config: Config) -> bool:
        """The corpus's own, unless a file brings others."""
        return not config.texts

    def sizes(self, train: Data) -> dict[str, Any]:
        """The encoder's settings and its tokenizer, so that a saved model needs no checkpoint."""
        if not any(self._texts(train)):
            raise SerbenchError(
                f"none of the {len(train)} training items has a text. Expected a corpus with transcripts, or "
                "--set model.texts=FILE."
            )
        source = text_source(self.config.encoder, self.config.revision)
        return {"encoder": dict(source.settings), "tokenizer": source.tokenizer}

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> Network:
        """The checkpoint's encoder (an empty one for a saved model) and a head as torch initialises it."""
        settings = sizes["encoder"]
        folder = None if self._restored else text_source(self.config.encoder, self.config.revision).folder
        encoder = build_encoder(settings, folder)
        width = int(settings.get("hidden_size") or settings.get("dim") or 0)
        self._tokens = Tokens(
            sizes["tokenizer"], longest(settings, self.config.tokens), int(settings.get("pad_token_id") or 0)
        )
        return Network(encoder, width, self.task.n_outputs, self.config)

    def calibrate(self, network: Network, train: Data) -> None:
        """Moments of the labels."""
        self.objective.calibrate(network, train.labels)

    def optimisers(self, network: Network) -> dict[str, Optimizer]:
        """One for the head and, where it is trained, one for the encoder."""
        heads = {"head": self.optimiser(network.head.parameters())}
        if self.config.frozen:
            return heads
        return {**heads, "encoder": self.optimiser(network.encoder.parameters(), rate=self.config.encoder_rate)}

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Train; the record says which encoder it is, and how many items have no text."""
        self._vectors = {}
        log = super().fit(train, dev, score, unlabelled)
        source = text_source(self.config.encoder, self.config.revision)
        missing = sum(not text for text in self._texts(train))
        log.facts |= {"encoder": {"name": self.config.encoder, **dict(source.identity)}, "without_text": missing}
        self._vectors = {}
        return log

    def begin(self, training: Training[Network]) -> None:
        """Take texts and targets."""
        self.objective.begin(training.train.labels)
        self._targets = self.objective.targets(training.network, training.train.labels)
        self._train_texts = self._texts(training.train)

    def batches(self, training: Training[Network]) -> Batches:
        """Every text once, in random order."""
        order = shuffled(len(training.train), training.generator("order"))

        def load(items: npt.NDArray[np.int64]) -> Batch:
            numbers, mask = self._tokens([self._train_texts[i] for i in items])
            return numbers, mask, torch.from_numpy(items)

        return Batches(even_batches(order, self.train_config.batch_size), load, training.device)

    def losses(self, training: Training[Network], batch: Batch) -> Mapping[str, Tensor]:
        """The loss of the task."""
        numbers, mask, items = batch
        network, targets = training.network, self._targets[items.cpu()].to(items.device)
        if self.config.frozen:
            vectors = self._known(network, [self._train_texts[int(i)] for i in items])
        else:
            vectors = network.read(numbers, mask)
        return self.objective.losses(network.head(vectors), targets)

    def infer(self, network: Network, data: Data) -> Predictions:
        """Class scores (item, class), or attributes (item, target) on the label scale."""
        texts = self._texts(data)
        if not any(texts):
            raise SerbenchError(
                f"none of {len(data)} items has a text, which is all that the model {self.name!r} reads. Expected a "
                "corpus with transcripts."
            )
        with torch.no_grad():
            vectors = self._known(network, texts) if self.config.frozen else self._read(network, texts)
            outputs = network.head(vectors)
        return self.objective.predictions(network, outputs.float().cpu().double().numpy())

    def _texts(self, data: Data) -> list[str]:
        """The text of each item; empty where there is none."""
        if self.config.texts:
            told = read_texts(self.config.texts)["text"]
            return [str(told.get(item, "")).strip() for item in data.ids]
        return own_texts(data.items)

    def _known(self, network: Network, texts: Sequence[str]) -> Tensor:
        """Vectors of a frozen encoder, each computed once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            with torch.inference_mode(False), torch.no_grad():  # they go into training too
                self._vectors.update(zip(new, self._read(network, new), strict=True))
        return torch.stack([self._vectors[text] for text in texts])

    def _read(self, network: Network, texts: Sequence[str]) -> Tensor:
        """Vectors (text, width), a few texts at a time."""
        parts = []
        for some in micro_batches(len(texts), self.micro_batch(cpu=16, card=128)):
            numbers, mask = self._tokens([texts[i] for i in some])
            parts.append(network.read(numbers.to(self.device), mask.to(self.device)))
        return torch.cat(parts)
