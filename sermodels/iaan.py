"""IAAN: an utterance is attended to in the light of the two turns before it, the speaker's own and the interlocutor's.

S.-L. Yeh, Y.-S. Lin and C.-C. Lee, "An interaction-aware attention network for speech emotion recognition in spoken
dialogs", ICASSP 2019, doi:10.1109/ICASSP.2019.8683293: MAEC's nearest relative, with the same 45 descriptors and the
same context turns. The paper's text was not at hand; what stands here follows the authors' released code
(github.com/30stomercury/Interaction-Aware-Attention-Network), "code" below, as facts: none of it is copied.

Each turn has a GRU of its own. The states of the context turns are pooled by attention into h_p (previous) and h_r
(interlocutor); the weights of the current turn's states h_t are softmax(u' tanh(W_c h_t + W_p h_p + W_r h_r + b)), and
h_c is the weighted sum. A hidden layer (dropout, layer norm, ReLU) on [h_c, h_p, h_r] gives the classes.

Differences. A missing context turn is a vector of zeros, where the code runs its GRU over zeros; context turns
are masked behind their end, where the code masks the current one alone. The context is the corpus's, however far back
(code: eight turns). Turns longer than `frames` are cut, where the code drops them. Attention, GRUs and layers start as
PyTorch's do. The code keeps the step with the best test score; here the dev score decides, and epochs and patience are
free choices. The code normalises by speaker (`model.normalise=speaker`, which a score's signature says); the default
takes the moments of the training items. A corpus without dialogues is judged by the current turn alone, and the record
says so. Attributes, our addition: z-scores, 1 - CCC.

Presets: `default`; `released`, normalised by speaker; `small`, narrow, for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..datasets.core.config import option
from .core.sermodel import Data, Predictions
from .dialogue.layers import AdditiveAttention, TurnEncoder, recurrent
from .dialogue.turn_model import TurnConfig, TurnModel, TurnNetwork
from .inputs.batches import Batch, Batches, even_batches, map_batches, micro_batches, shuffled
from .inputs.turns import CONTEXT, TurnFrames, context_ids
from .training.settings import TrainConfig, make_optimiser
from .training.training import Training

GROUP = "relatives"
CITES = ("yeh2019iaan",)
CODE = "released code"
Turn = tuple[Tensor, Tensor]
"""Frames (item, frame, dim) of a turn, and its lengths (item,)."""
_TRAIN = TrainConfig(epochs=60, patience=15, batch_size=16, learning_rate=1e-4)


@dataclass(frozen=True)
class Config(TurnConfig):
    """Settings of `iaan`: those of turns, and these."""

    train: TrainConfig = option(_TRAIN, "training settings, set with train.KEY", source=CODE)  # noqa: RUF009
    pool: int = option(5, "frames that are averaged into one", source=CODE, low=1)
    frames: int = option(855, "most averaged frames of a turn, from its beginning; 0 = all", source=CODE, low=0)
    smoothing: float = option(0.1, "label smoothing of the cross-entropy", source=CODE, low=0, high=0.9)
    width: int = option(512, "units of each GRU", source=f"{CODE}, its command line", low=1)
    attention: int = option(16, "dimensions inside the attention", source=CODE, low=1)
    hidden: int = option(64, "dimensions of the hidden layer", source=CODE, low=1)
    dropout: float = option(
        0.1, "of the current turn's frames and states, and of the layer", source=CODE, low=0, high=1
    )
    head_decay: float = option(1e-3, "L2 penalty of the hidden layer and the outputs", source=CODE, low=0)
    context: bool = option(True, "whether the context turns are heard", source="the paper's ablation")


PRESETS: dict[str, Config] = {
    "default": Config(),
    "released": Config(normalise="speaker"),
    "small": Config(train=replace(_TRAIN, epochs=20, patience=6, learning_rate=1e-3), width=64),
}
TINY = Config(
    train=TrainConfig(epochs=40, patience=0, batch_size=8, learning_rate=1e-2), pool=20, width=12, hidden=16, dropout=0
)
SEARCH = {"train.learning_rate": "3e-5..3e-3:log", "model.dropout": "0..0.5", "model.width": "64,128,256,512"}


class Network(TurnNetwork):
    """The three GRUs, their attention, and the head."""

    def __init__(self, dim: int, outputs: int, config: Config, context: bool) -> None:
        super().__init__(dim, outputs)
        others = CONTEXT if context else ()
        self.current = nn.GRU(dim, config.width, batch_first=True)
        self.attention = AdditiveAttention(config.width, config.attention, len(others))
        self.context = nn.ModuleList(TurnEncoder(dim, config.width, config.attention) for _ in others)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Sequential(
            nn.Linear(config.width * (1 + len(others)), config.hidden),
            nn.Dropout(config.dropout),
            nn.LayerNorm(config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, outputs),
        )

    def forward(self, current: Turn, context: Sequence[Turn]) -> tuple[Tensor, Tensor]:
        """Outputs (item, output), and the attention on the frames of the current turn (item, frame)."""
        frames, lengths = current
        heard = [encoder(*turn) for encoder, turn in zip(self.context, context, strict=True)]  # h_p, h_r (item, width)
        states = self.dropout(recurrent(self.current, self.dropout(frames), lengths))
        pooled, weights = self.attention(states, lengths, heard)  # h_c (item, width)
        return self.head(torch.cat([pooled, *heard], dim=1)), weights


class Model(TurnModel[Network]):
    """IAAN."""

    name: ClassVar[str] = "iaan"
    uses_context: ClassVar[bool | str] = True
    config: Config

    def sizes(self, train: Data) -> dict[str, Any]:
        """Values per frame, and whether any training item has a context turn."""
        known = [item for column in CONTEXT for item in context_ids(train, column) if item is not None]
        return {"dim": train.features["input"].dim, "context": self.config.context and bool(known)}

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> Network:
        """The network with PyTorch's initial weights."""
        return Network(sizes["dim"], self.task.n_outputs, self.config, sizes["context"])

    def optimisers(self, network: Network) -> dict[str, Optimizer]:
        """Adam for all, with a penalty on the head alone."""
        t = self.train_config
        head = make_optimiser(
            t.optimiser, network.head.parameters(), t.learning_rate, self.config.head_decay, t.momentum
        )
        rest = [p for name, p in network.named_parameters() if not name.startswith("head.")]
        return {"encoders": self.optimiser(rest), "head": head}

    def begin(self, training: Training[Network]) -> None:
        """Note how much context there is."""
        super().begin(training)
        counts = [sum(i is not None for i in context_ids(training.train, column)) for column in CONTEXT]
        told = ", ".join(
            f"{name} turn of {n} of {len(training.train)}" for name, n in zip(CONTEXT, counts, strict=True)
        )
        training.log.facts["context"] = told if self._sizes["context"] else "none, the current turn alone"

    def batches(self, training: Training[Network]) -> Batches:
        """Every training item once, in random order."""
        ids, turns = self._ids(training.train), self.turns(training.network, training.train)
        order = shuffled(len(training.train), training.generator("order"))

        def load(items: npt.NDArray[np.int64]) -> Batch:
            return (*_padded(ids, turns, items), self._targets[torch.from_numpy(items)])

        return Batches(even_batches(order, self.train_config.batch_size), load, training.device)

    def losses(self, training: Training[Network], batch: Batch) -> Mapping[str, Tensor]:
        """The loss of the task."""
        *turns, targets = batch
        current, *context = _paired(turns)
        return self.objective.losses(training.network(current, context)[0], targets)

    def infer(self, network: Network, data: Data) -> Predictions:
        """Class scores (item, class), or attributes (item, target) on the label scale."""
        batches = self._all(network, data)
        return self.predicted(network, map_batches(batches, lambda batch: _run(network, batch)[0]))

    def salience(self, data: Data) -> list[pd.DataFrame]:
        """The attention on the frames of the current turn."""
        network = self.network
        assert network is not None, "the model is trained"
        rows: list[npt.NDArray[Any]] = []
        with torch.inference_mode():
            for batch in self._all(network, data):
                weights = _run(network, batch)[1].cpu().double().numpy()
                rows += [row[:n] for row, n in zip(weights, batch[1].tolist(), strict=True)]
        return self.weighted(data, rows, 1, 1)

    def _all(self, network: Network, data: Data) -> Batches:
        ids, turns = self._ids(data), self.turns(network, data)
        indices = micro_batches(len(data), self.micro_batch(cpu=32, card=256))
        return Batches(indices, lambda items: _padded(ids, turns, items), self.device)

    def _ids(self, data: Data) -> list[list[str | None]]:
        """Ids of the current turns and, where they are heard, of the context turns."""
        return [list(data.ids), *(context_ids(data, column) for column in CONTEXT if self._sizes["context"])]


def _padded(ids: Sequence[Sequence[str | None]], turns: TurnFrames, items: npt.NDArray[np.int64]) -> Batch:
    """Frames and lengths of each turn of some items, one after the other."""
    return tuple(tensor for turn in ids for tensor in turns.padded([turn[int(i)] for i in items]))


def _paired(batch: Sequence[Tensor]) -> list[Turn]:
    """Inverse of `_padded`."""
    return list(zip(batch[::2], batch[1::2], strict=True))


def _run(network: Network, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    current, *context = _paired(batch)
    outputs: tuple[Tensor, Tensor] = network(current, context)
    return outputs
