"""The network of MAEC: encoder branches, fusion to the latent Z, discriminator, and heads.

C. Fu, C. Liu, C. T. Ishi and H. Ishiguro, "MAEC: multi-instance learning with an adversarial auto-encoder-based
classifier for speech emotion recognition", ICASSP 2021, section 2. What the paper leaves open is taken from the
authors' release (github.com/CZFuChason/ISEMOR); where the two differ there is a setting. For each of the three turns,
with weights of its own:

    h_i = DilatedConv(x_i)              H = [h_1 ... h_n]                             (2)  `maec/layers.py`
    bt_i = Bottleneck(h_i)              BT = [bt_1 ... bt_n]                          (3)
    Key = BiGRU(H)                                                                    (4a) `maec/layers.py`
    A = Attention(Key, BT) = softmax(BT Key') Key                                     (4b)
    KQ = GlobalPooling(A)               V = GlobalPooling(Key)   [released: of BT]    (4c)
    HF = KQ * V                                                                       (4d)

and of the three HF:

    PI = softmax(HF_pre * HF_int)                                                     (5a)
    Z = [HF_cur * PI, HF_cur]           [released: HF_cur, HF_cur * PI, HF_pre, HF_int]   (5b)

Eq. 1 is in `maec/instances.py`, 6 to 8 in `maec/losses.py`. The numbers 1, 7 and 8 are the paper's, the others follow
its order.

With `masked`, instances that fill a bag up take no part in (4a) to (4c), and a missing turn has HF = 0, so that PI is
flat. Without it, as released, a bag is filled up with instances of zeros, which do take part, and a missing turn is a
bag of them. A softmax over 512 features shrinks the gated half of Z about 512 times; gate = "scaled" makes up for that,
so that a flat PI is 1. Without context turns (`context` off, or a corpus without dialogues) Z is HF_cur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ..training.device import derived_seed
from ..training.gender import GENDERS
from .bag_rows import Layout
from .layers import BiGru, BlockConfig, Convolutions, Direction

SLOPE = 0.2
"""Slope of LeakyReLU below 0, in the discriminator and where the release has one after (4d)."""
Turn = tuple[Tensor, Tensor]
"""Stretches of all bags end to end, (frame, dim), and the number of instances of each bag, (bag,)."""


@dataclass(frozen=True)
class NetworkConfig(BlockConfig):
    """Settings of the network."""

    masked: bool = option(True, "leave out the instances that fill a bag up", source="free choice; released: false")
    width: int = option(512, "width of bottleneck and of both GRU directions together", source="released code", low=2)
    candidate: str = option("sigmoid", "GRU's candidate state", source="released code", choices=("sigmoid", "tanh"))
    value: str = option("key", "what V pools", source="Eq. 4; released: bottleneck", choices=("key", "bottleneck"))
    attention_sigmoid: bool = option(False, "a sigmoid after the attention", source="released code: true")
    leaky: bool = option(False, "LeakyReLU after HF", source="released code: true")
    latent: str = option("gated", "two parts of Z, or four", source="Eq. 5; released: all", choices=("gated", "all"))
    gate: str = option("scaled", "PI, or PI times its width", source="Eq. 5: softmax", choices=("softmax", "scaled"))
    context: bool = option(True, "use the speaker's previous and the interlocutor's last turn", source="section 2")
    gender: bool = option(True, "gender as second task, where it is known", source="section 2")
    discriminator_width: int = option(256, "hidden units of the discriminator", source="released code", low=1)
    dropout: float = option(0.0, "share of Z that is dropped before the heads", source="free choice", low=0, high=0.95)

    def __post_init__(self) -> None:
        """Refuse what can't be built."""
        if self.width % 2 or len(self.widths) != 3:
            raise SerbenchError(
                f"model.width={self.width}, model.widths={','.join(map(str, self.widths))}: expected an even width and "
                "three widths of convolutions, such as --set model.width=64 --set model.widths=64,64,32."
            )


class Branch(nn.Module):
    """The encoder of one turn, Eq. 2 to 4; 8,765,056 parameters in the release's sizes."""

    def __init__(self, dim: int, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.convolutions = Convolutions(dim, config)
        self.bottleneck = nn.Linear(self.convolutions.features, config.width)
        self.gru = BiGru(self.convolutions.features, config.width, config.candidate)

    def forward(self, frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """HF of each bag, (bag, width), and the mean attention on each instance, (bag, longest), 0 where there is none.

        frames: stretches end to end, (frame, dim); counts: instances of each bag, (bag,), 0 for a missing turn.
        """
        config = self.config
        layout = Layout.of(counts)
        rows = self.convolutions(frames, layout.starts(config.window, config.hop))  # (row, features)          (2)
        if not config.masked:
            rows, layout = layout.filled(rows, config.instances)
        bottleneck = functional.relu(self.bottleneck(rows))  # (row, width)                                  (3)
        keys = layout.padded(self.gru(rows, layout))  # (bag, longest, width)                                (4a)
        queries = layout.padded(bottleneck.to(keys.dtype))
        attended, weights = attention(queries, keys, layout.mask)  # (4b)
        if config.attention_sigmoid:
            attended = attended.sigmoid()
        pooled = mean_of_instances(attended, layout.mask)  # KQ (bag, width)                                  (4c)
        value = mean_of_instances(keys if config.value == "key" else queries, layout.mask)  # V
        fused = pooled * value  # HF                                                                         (4d)
        fused = functional.leaky_relu(fused, SLOPE) if config.leaky else fused
        return fused, mean_of_instances(weights, layout.mask)


def attention(queries: Tensor, keys: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """A = softmax(Q K') K, without scaling (Eq. 4b).

    Parameters
    ----------
    queries, keys : (bag, instance, width)
    mask : (bag, instance), False where there is no instance; those are attended to by nobody

    Returns
    -------
    (bag, instance, width), and the weights (bag, query, key), which sum to 1 over the keys of a bag with instances
    """
    scores = at_least_single(queries @ keys.transpose(1, 2))
    scores = torch.where(mask[:, None, :], scores, torch.finfo(scores.dtype).min)  # finite: an empty bag gives no NaN
    weights = torch.softmax(scores, dim=-1).to(keys.dtype)
    return weights @ keys, weights


def mean_of_instances(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the instances that are there, (bag, instance, feature) -> (bag, feature); 0 for an empty bag."""
    total = (values * mask[:, :, None]).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


def fuse(current: Tensor, previous: Tensor, interlocutor: Tensor, config: NetworkConfig) -> Tensor:
    """Z of Eq. 5 from the HF of the three turns, each (item, width)."""
    gate = torch.softmax(at_least_single(previous * interlocutor), dim=-1).to(current.dtype)  # (5a)
    if config.gate == "scaled":
        gate = gate * current.shape[1]
    parts = [current * gate, current] if config.latent == "gated" else [current, current * gate, previous, interlocutor]
    return torch.cat(parts, dim=1)  # (5b)


def at_least_single(values: Tensor) -> Tensor:
    """Half-precision values as float32, in which a softmax is safe."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class MaecNetwork(nn.Module):
    """Encoder, discriminator, emotion head and gender head.

    The buffers are what prediction needs of the training data: mean and inverse standard deviation of the frames,
    (dim,), mean and standard deviation of the labels, (output,).

    Parameters
    ----------
    dim : features per frame
    outputs : classes or attributes
    context : whether there are three turns
    gender : whether there is a gender head
    discriminator : whether there is a discriminator
    """

    frame_mean: Tensor
    frame_scale: Tensor
    label_mean: Tensor
    label_scale: Tensor

    def __init__(
        self, dim: int, outputs: int, config: NetworkConfig, *, context: bool, gender: bool, discriminator: bool
    ) -> None:
        super().__init__()
        self.config = config
        turns = ("current", "previous", "interlocutor") if context else ("current",)
        self.encoder = nn.ModuleDict({turn: Branch(dim, config) for turn in turns})
        self.latent = config.width * ((2 if config.latent == "gated" else 4) if context else 1)
        self.discriminator = (
            nn.Sequential(
                nn.Linear(self.latent, config.discriminator_width),
                nn.LeakyReLU(SLOPE),
                nn.Linear(config.discriminator_width, 1),
            )
            if discriminator
            else None
        )
        self.dropout = nn.Dropout(config.dropout)
        self.emotion = nn.Linear(self.latent, outputs)
        self.gender = nn.Linear(self.latent, len(GENDERS)) if gender else None
        for name, size in (("frame", dim), ("label", outputs)):
            self.register_buffer(f"{name}_mean", torch.zeros(size, dtype=torch.float64))
            self.register_buffer(f"{name}_scale", torch.ones(size, dtype=torch.float64))

    def encode(self, turns: Sequence[Turn]) -> tuple[Tensor, list[Tensor]]:
        """Z (item, latent) of the turns (current, previous, interlocutor), and the attention within each turn."""
        branches = [branch(*turn) for branch, turn in zip(self.encoder.values(), turns, strict=True)]
        fused, weights = [hf for hf, _ in branches], [w for _, w in branches]
        latent = fused[0] if len(fused) == 1 else fuse(fused[0], fused[1], fused[2], self.config)
        return latent, weights

    def judge(self, latent: Tensor) -> Tensor:
        """The discriminator's logit that a vector (item, latent) was drawn from the prior, (item,)."""
        assert self.discriminator is not None
        logits: Tensor = self.discriminator(latent)
        return logits.squeeze(1)

    def heads(self, latent: Tensor) -> tuple[Tensor, Tensor | None]:
        """Emotion logits or z-scores (item, output), and gender logits (item, 2) or None."""
        kept = self.dropout(latent)
        return self.emotion(kept), None if self.gender is None else self.gender(kept)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Keras's initial weights, which the release uses: Glorot-uniform, recurrent weights orthogonal, biases 0.

    Each module draws by itself, from what is drawn of the generator once and the module's name, so that networks with
    and without a part begin with the same weights in all others.
    """
    drawn = int(torch.randint(2**62, (), generator=generator))
    for name, module in network.named_modules():
        generator = torch.Generator().manual_seed(derived_seed(drawn, name))
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Direction):
            _glorot(module.kernel, module.kernel.shape[1], module.kernel.shape[0], generator)
            nn.init.orthogonal_(module.recurrent, generator=generator)
        else:
            for parameter in module.parameters(recurse=False):
                nn.init.xavier_uniform_(parameter, generator=generator)


def _glorot(weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
    bound = (6 / (fan_in + fan_out)) ** 0.5
    nn.init.uniform_(weight, -bound, bound, generator=generator)
