"""HiGRU: a recurrent network over the turns of a dialogue, on one over the frames of each turn.

W. Jiao, H. Yang, I. King and M. R. Lyu, "HiGRU: Hierarchical gated recurrent units for utterance-level emotion
recognition", NAACL-HLT 2019, arXiv:1904.04446, doi:10.18653/v1/N19-1037, which MAEC names for context; details by the
authors' released code (github.com/wxjiao/HiGRUs), "code" below, as facts: none of it is copied.

A bidirectional GRU reads a turn; its states (with `fusion`: between what it read, with `self-attention`: and between
what each direction attends to) go through a tanh layer, and the maximum over time is the turn's vector. A second one of
the same kind reads these vectors from the first turn of the dialogue to the last, past and future alike; its states go
through a tanh layer, a linear one and the outputs. Every turn is heard, those with training labels are learnt from.

What it reads here. The original reads words, as pre-trained vectors; here a turn is what `model.feature` makes of its
sound: frames of descriptors (the default: 45 of `emobase45`, averaged over 100 ms, about as many steps as an utterance
has syllables), or one vector of functionals or of an encoder (`egemaps`, `transformers:NAME`), or words again
(`word-vectors:FILE`), frame by frame.

Differences. A step takes whole dialogues until they hold `train.batch_size` labelled turns (code: one dialogue), since
corpora without dialogues have one turn in each. Padding is masked in attention and maximum (code: in the attention of
frames alone). The step size stays (code: halved every 20 epochs); weights of classes are off (code: so on IEMOCAP). The
code leaves turns of other classes without weight, here they have no label; both are heard. Dialogues of more turns than
`turns` are cut into pieces. The dev score decides. Attributes, our addition: z-scores, 1 - CCC. The order of turns is
that of the corpus (`inputs/dialogues.py`); perturbed copies of training turns are heard without their dialogue.

Presets: `default` (HiGRU-sf, with both fusions), `plain` (HiGRU), `fusion` (HiGRU-f), `small` for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..datasets.core.config import option
from .core.sermodel import DIALOGUE, Data, Predictions
from .dialogue.layers import masked_softmax, recurrent
from .dialogue.turn_model import TurnConfig, TurnModel, TurnNetwork
from .inputs.batches import Batch, Batches, micro_batches, shuffled
from .inputs.dialogues import Dialogues, dialogues_of
from .inputs.turns import TurnFrames
from .training.pooling import frame_mask
from .training.settings import TrainConfig
from .training.training import Training

GROUP = "relatives"
CITES = ("jiao2019higru",)
CODE = "released code"
FUSIONS = ("none", "fusion", "self-attention")
_TRAIN = TrainConfig(epochs=60, patience=10, batch_size=32, learning_rate=1e-4, clip_norm=5.0)


@dataclass(frozen=True)
class Config(TurnConfig):
    """Settings of `higru`: those of turns, and these."""

    train: TrainConfig = option(_TRAIN, "training; batch_size counts labelled turns", source=CODE)  # noqa: RUF009
    pool: int = option(10, "frames that are averaged into one", source="free choice", low=1)
    frames: int = option(
        300, "most averaged frames of a turn, from its beginning; 0 = all", source="free choice", low=0
    )
    fusion: str = option(
        "self-attention",
        "what stands beside the states",
        source="the two variants, HiGRU-f and HiGRU-sf",
        choices=FUSIONS,
    )
    frame_width: int = option(300, "units of each direction over frames", source="released code", low=1)
    turn_width: int = option(300, "units of each direction over turns", source="released code", low=1)
    hidden: int = option(100, "dimensions of the layer below the outputs", source=CODE, low=1)
    dropout: float = option(0.5, "of turn vectors and of both layers above", source=CODE, low=0, high=1)
    turns: int = option(128, "most turns of a dialogue at once; longer ones are cut", source="free choice", low=1)


PRESETS: dict[str, Config] = {
    "default": Config(),
    "plain": Config(fusion="none"),
    "fusion": Config(fusion="fusion"),
    "small": Config(
        train=replace(_TRAIN, epochs=30, patience=8, learning_rate=1e-3), frame_width=48, turn_width=48, hidden=32
    ),
}
TINY = Config(
    train=TrainConfig(epochs=60, patience=0, batch_size=4, learning_rate=1e-2),
    frame_width=8,
    turn_width=8,
    hidden=16,
    dropout=0,
)
SEARCH = {"train.learning_rate": "3e-5..3e-3:log", "model.dropout": "0..0.6", "model.fusion": ",".join(FUSIONS)}


class Level(nn.Module):
    """A bidirectional GRU with what stands beside its states, and a tanh layer: (row, step, dim) to (row, step, width).

    Of the two directions l and r, the input x and attention s over a direction's own states, the layer takes
    [l, r], [l, x, r] or [s(l), l, x, r, s(r)].
    """

    def __init__(self, dim: int, width: int, fusion: str) -> None:
        super().__init__()
        self.fusion = fusion
        self.gru = nn.GRU(dim, width, batch_first=True, bidirectional=True)
        self.layer = nn.Linear({"none": 2 * width, "fusion": 2 * width + dim}.get(fusion, 4 * width + dim), width)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """What stands behind a row's end means nothing."""
        states = recurrent(self.gru, steps, lengths)
        left, right = states.chunk(2, dim=2)
        parts = {"none": [left, right], "fusion": [left, steps, right]}.get(self.fusion)
        if parts is None:
            mask = frame_mask(lengths, steps.shape[1])
            parts = [attended(left, mask), left, steps, right, attended(right, mask)]
        outputs: Tensor = torch.tanh(self.layer(torch.cat(parts, dim=2)))
        return outputs


def attended(states: Tensor, mask: Tensor) -> Tensor:
    """softmax(S S') S of the states S (step, width) of each row, without scaling, over the steps of the mask."""
    weights = masked_softmax(states @ states.transpose(1, 2), mask[:, None, :].expand(-1, states.shape[1], -1))
    return weights @ states


class Network(TurnNetwork):
    """The two levels and the classifier."""

    def __init__(self, dim: int, outputs: int, config: Config) -> None:
        super().__init__(dim, outputs)
        self.frames = Level(dim, config.frame_width, config.fusion)
        self.turns = Level(config.frame_width, config.turn_width, config.fusion)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Sequential(
            nn.Linear(config.turn_width, config.hidden), nn.Dropout(config.dropout), nn.Linear(config.hidden, outputs)
        )

    def forward(self, frames: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """Outputs of every turn, (turn, output).

        frames: of all turns of some dialogues, dialogue after dialogue, (turn, frame, dim); lengths: frames of each
        turn; counts: turns of each dialogue
        """
        read = self.frames(frames, lengths)  # (turn, frame, width)
        outside = ~frame_mask(lengths, frames.shape[1])[:, :, None]
        vectors = self.dropout(read.masked_fill(outside, -1.0).amax(1))  # (turn, width); -1 is the least tanh
        dialogues = nn.utils.rnn.pad_sequence(list(torch.split(vectors, counts.tolist())), batch_first=True)
        states = self.turns(dialogues, counts)  # (dialogue, turn, width)
        outputs: Tensor = self.head(self.dropout(states[frame_mask(counts, states.shape[1])]))
        return outputs


class Model(TurnModel[Network]):
    """HiGRU."""

    name: ClassVar[str] = "higru"
    uses_context: ClassVar[bool | str] = DIALOGUE
    config: Config

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> Network:
        """The network with PyTorch's initial weights."""
        return Network(sizes["dim"], self.task.n_outputs, self.config)

    def begin(self, training: Training[Network]) -> None:
        """Lay out the dialogues, and note how long they are."""
        super().begin(training)
        self._dialogues = [(data, dialogues_of(data, self.config.turns)) for data in (training.train, training.dev)]
        lengths = [len(turns) for turns in self._dialogues[0][1].turns]
        training.log.facts["dialogues"] = {
            "number": len(lengths),
            "mean_turns": round(float(np.mean(lengths)), 3),
            "unlabelled_turns": sum(lengths) - len(training.train),
        }

    def _end(self, training: Training[Network]) -> None:
        super()._end(training)
        self._dialogues = []

    def batches(self, training: Training[Network]) -> Batches:
        """Every dialogue once, in random order, as many at a time as hold the labelled turns of a batch."""
        dialogues, turns = self._laid(training.train), self.turns(training.network, training.train)
        order = shuffled(len(dialogues.turns), training.generator("order"))
        sizes = [len(members) for members in dialogues.members]
        chosen = [
            np.asarray(some, dtype=np.int64) for some in filled(order.tolist(), sizes, self.train_config.batch_size)
        ]

        def load(some: npt.NDArray[np.int64]) -> Batch:
            frames, lengths, counts, rows, items = _gathered(dialogues, turns, some)
            return frames, lengths, counts, rows, self._targets[items]

        return Batches(chosen, load, training.device)

    def losses(self, training: Training[Network], batch: Batch) -> Mapping[str, Tensor]:
        """The loss of the labelled turns."""
        frames, lengths, counts, rows, targets = batch
        return self.objective.losses(training.network(frames, lengths, counts)[rows], targets)

    def infer(self, network: Network, data: Data) -> Predictions:
        """Class scores (item, class), or attributes (item, target) on the label scale."""
        dialogues, turns = self._laid(data), self.turns(network, data)
        indices = micro_batches(len(dialogues.turns), self.micro_batch(cpu=2, card=16))
        outputs = torch.empty(len(data), self.task.n_outputs)
        for batch in Batches(indices, lambda some: _gathered(dialogues, turns, some), self.device):
            frames, lengths, counts, rows, items = batch
            outputs[items.cpu()] = network(frames, lengths, counts)[rows].float().cpu()
        return self.predicted(network, outputs)

    def _laid(self, data: Data) -> Dialogues:
        """The dialogues of a data set, those of train and dev being at hand during training."""
        ready = [laid for known, laid in getattr(self, "_dialogues", []) if known is data]
        return ready[0] if ready else dialogues_of(data, self.config.turns)


def filled(order: Sequence[int], sizes: Sequence[int], least: int) -> list[list[int]]:
    """Dialogues in the given order, in groups that hold `least` labelled turns or more; the last joins the one before
    where it holds less than half of that."""
    groups: list[list[int]] = [[]]
    for dialogue in order:
        if sum(sizes[d] for d in groups[-1]) >= least:
            groups.append([])
        groups[-1].append(dialogue)
    if len(groups) > 1 and 2 * sum(sizes[d] for d in groups[-1]) < least:
        last = groups.pop()
        groups[-1] += last
    return groups


def _gathered(dialogues: Dialogues, turns: TurnFrames, some: npt.NDArray[np.int64]) -> tuple[Tensor, ...]:
    """Frames, lengths and counts of some dialogues, the rows of their items among the turns, and the items."""
    frames, lengths = turns.padded([turn for d in some for turn in dialogues.turns[d]])
    counts = [len(dialogues.turns[d]) for d in some]
    first = dict(zip(some.tolist(), np.cumsum([0, *counts[:-1]]).tolist(), strict=True))
    items = [item for d in some for item in dialogues.members[d]]
    rows = [first[dialogues.places[item][0]] + dialogues.places[item][1] for item in items]
    return frames, lengths, torch.tensor(counts), torch.tensor(rows), torch.tensor(items)
