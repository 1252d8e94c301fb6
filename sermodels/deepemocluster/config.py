"""Settings of DeepEmoCluster and their named values; what these are stands in `deepemocluster/model.py`."""

from __future__ import annotations

from dataclasses import dataclass

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ..chunked.network import paper, tiny
from ..chunked.pool_config import TwoStageConfig
from ..clustering.pseudo_labels import SAMPLERS
from ..clustering.step import ClusterConfig
from ..training.settings import TrainConfig


@dataclass(frozen=True)
class Config(TwoStageConfig, ClusterConfig):
    """Settings of `deepemocluster`: those of the encoder, of the clustering, of pool, draws and optimisers."""

    cluster_weight: float = option(1.0, "weight lambda of the cluster loss", source="Eq. 3, section 5.1", low=0)
    sampler: str = option(
        "balanced",
        "chunks of an epoch: as many of each cluster, as the release draws, or each chunk once",
        source="DeepCluster, section 3.3",
        choices=(*SAMPLERS, "all"),
    )
    top_rate: float = option(0.05, "step size (SGD) of the classifier's top layer", source="released code", low=0)
    cluster_optimiser: str = option("adam", "that of its hidden layer", source="free choice", choices=("adam", "sgd"))
    cluster_rate: float | None = option(None, "its step size; none = train.learning_rate", source="free choice", low=0)
    optimisers: str = option(
        "parts",
        "one optimiser per part, or the release's SGD and Adam over everything",
        source="section 5.1",
        choices=("parts", "released"),
    )
    regressor: str = option(
        "trained",
        "whether stage 2 trains the regressor, or a pool leaves it frozen for good",
        source="section 4.2",
        choices=("trained", "released"),
    )
    selection: str = option(
        "sentences",
        "the best epoch: dev score, or the chunks' mean loss over dev batches",
        source="section 5.1",
        choices=("sentences", "chunks"),
    )

    def __post_init__(self) -> None:
        """Refuse settings that don't go together."""
        super().__post_init__()
        if self.draw == "sentences" and self.sampler != "all":
            raise SerbenchError(
                f"model.draw=sentences draws whole sentences, model.sampler={self.sampler} chunks by cluster. "
                "Type --set model.sampler=all with it."
            )
        if self.whiten > self.width:
            raise SerbenchError(
                f"model.whiten={self.whiten} exceeds model.width={self.width}. Expected at most that: type "
                f"--set model.whiten={self.width}, or 0 for points as they are."
            )
        if self.optimisers == "released" and self.train.amp == "fp16":
            raise SerbenchError(
                "model.optimisers=released steps twice on one gradient, which the loss scaling of train.amp=fp16 does "
                "not allow. Type --set train.amp=bf16 or off."
            )


FIXED = Config(labelled_passes=0, whiten=8, warm_start=True)
PAPER = paper(Config(cluster_input="h"))
RELEASED = Config(
    train=TrainConfig(batch_size=64, patience=0),
    encoder_optimiser="sgd",
    encoder_rate=1e-3,
    kmeans_start="random",
    empty_clusters="split",
    sampler="stored-order",
    optimisers="released",
    regressor="released",
    selection="chunks",
    ccc_correction=1,
    ccc_epsilon=0.0,
)
TINY = tiny(Config(clusters=3, cluster_weight=0.1))
