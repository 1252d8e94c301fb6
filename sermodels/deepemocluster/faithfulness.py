"""Statements of the DeepEmoCluster paper and where this code does them; the columns: `core/faithfulness.py`."""

from __future__ import annotations

from ..core.faithfulness import DIFFERS, SAME, UNKNOWN, Statement

PAPER = "Lin, Sridhar and Busso, ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035"
NETWORK, MODEL, STEP = "sermodels.chunked.network", "sermodels.deepemocluster.model", "sermodels.clustering.step"

STATEMENTS = (
    Statement(
        "4.1",
        "Mel spectrogram of 128 bands, frames of 32 ms every 16 ms, 16 kHz",
        "features.mel:Extractor.extract",
        SAME,
    ),
    Statement(
        "4.1",
        "The spectrogram is one of magnitudes",
        "features.mel:Config",
        DIFFERS,
        "the release takes the power of audio divided by its peak, and its weights expect that",
        "feature.power=1 feature.peak_normalise=false",
    ),
    Statement("4.1", "Features are z-normalised per band by the training set", f"{NETWORK}:Normaliser.forward", SAME),
    Statement(
        "silent",
        "Bound of normalised features",
        f"{NETWORK}:Normaliser.forward",
        UNKNOWN,
        "3, as in the release",
        "model.clip=3",
    ),
    Statement(
        "4.1",
        "A sentence is cut into C = ceil(Tmax / wc) chunks, whose overlap follows from its length; 11 of 1 s",
        "sermodels.inputs.chunks:Chunking.starts",
        SAME,
        switch="model.chunk_seconds=1 model.max_seconds=11",
    ),
    Statement(
        "silent",
        "Sentences shorter than a chunk",
        "sermodels.inputs.chunks:Chunking.extend",
        UNKNOWN,
        "repeated until they fill one; the paper's corpus has none",
        "model.short=tile",
    ),
    Statement("4.1", "Chunks have the label of their sentence", "sermodels.chunked.chunked_model:ChunkedModel", SAME),
    Statement(
        "4.1",
        "The sentence's prediction is the mean of its chunks'",
        "sermodels.chunked.chunked_model:ChunkedModel.infer",
        SAME,
    ),
    Statement(
        "4.2",
        "The encoder is a VGG-16 with batch normalisation",
        f"{NETWORK}:Encoder.forward",
        DIFFERS,
        "the release has seven convolutions that halve by stride and never pool; its layer list is followed",
        "model.channels=32,32,64,64,128,128,128 model.strides=1,1,2,2,2,2,2",
    ),
    Statement(
        "4.2", "Regressor and classifier: a hidden layer with ReLU, then an output layer", f"{NETWORK}:Head", SAME
    ),
    Statement("silent", "Initial weights", f"{NETWORK}:initialise", UNKNOWN, "those of the release"),
    Statement(
        "4.2",
        "K-means on the latent h gives pseudo-labels",
        f"{MODEL}:Model.clustered",
        SAME,
        "the release clusters the classifier's hidden layer before its ReLU, which the other presets do",
        "model.cluster_input=h",
    ),
    Statement(
        "silent",
        "Start of k-means, empty clusters",
        "sermodels.clustering.kmeans:kmeans",
        UNKNOWN,
        "k-means++, and an empty cluster gets the farthest point",
        "model.kmeans_start=k-means++ model.empty_clusters=farthest",
    ),
    Statement(
        "4.2",
        "Stage 1: encoder and classifier learn the pool's pseudo-labels, the regressor is frozen",
        f"{MODEL}:Model.stage_one",
        SAME,
    ),
    Statement("4.2", "Stage 2: the whole network learns on labelled chunks", f"{MODEL}:Model.stage_two", SAME),
    Statement(
        "4.2",
        "The regressor is trained in stage 2",
        f"{MODEL}:Model.begin",
        SAME,
        "the release leaves it frozen for good with a pool",
        "model.regressor=trained",
    ),
    Statement(
        "Eq. 3",
        "L = (1 - CCC) + lambda CE with lambda = 1",
        f"{MODEL}:Model.stage_two",
        SAME,
        switch="model.cluster_weight=1",
    ),
    Statement(
        "silent",
        "Which chunks an epoch draws",
        "sermodels.clustering.pseudo_labels:balanced",
        UNKNOWN,
        "as many of each cluster, as in DeepCluster; the release means to, but does not balance",
        "model.sampler=balanced",
    ),
    Statement(
        "silent",
        "Form of the CCC loss's variances",
        "sermodels.training.losses:ccc_losses",
        UNKNOWN,
        "population variances; the release mixes both kinds",
        "model.ccc_correction=0",
    ),
    Statement(
        "5.1", "Adam 5e-4 for the regressor", f"{MODEL}:Model.optimisers", SAME, switch="train.learning_rate=5e-4"
    ),
    Statement(
        "5.1",
        "SGD 1e-3 for the encoder",
        f"{MODEL}:Model.optimisers",
        SAME,
        switch="model.encoder_optimiser=sgd model.encoder_rate=1e-3",
    ),
    Statement(
        "5.1",
        "SGD 1e-3 for the classifier",
        f"{MODEL}:Model.optimisers",
        DIFFERS,
        "with the release's weights it then learns nothing at the paper's number of steps; Adam for its hidden layer, "
        "SGD 0.05 for its top one",
        "model.cluster_optimiser=sgd model.cluster_rate=1e-3 model.top_rate=1e-3",
    ),
    Statement(
        "5.1",
        "Batches of 64",
        f"{NETWORK}:paper",
        SAME,
        "of sentences, each with all its chunks",
        "train.batch_size=64",
    ),
    Statement(
        "5.1",
        "Early stopping on the validation loss",
        f"{MODEL}:Model.rank",
        DIFFERS,
        "the dev score chooses the epoch, as for every model here, so that comparisons are fair",
        "model.selection=chunks",
    ),
    Statement(
        "silent",
        "Number of epochs",
        "sermodels.training.settings:TrainConfig",
        UNKNOWN,
        "at most the release's 50, ending 10 after the best",
        "train.epochs=50 train.patience=10",
    ),
    Statement("5.2", "10 clusters, and more in Table 4", f"{STEP}:ClusterConfig", SAME, switch="model.clusters=10"),
    Statement(
        "5.3",
        "Pools of 0, 15,000 and 40,000 unlabelled sentences",
        "sermodels.inputs.unlabelled_pool:chosen",
        SAME,
        "which ones is not said; ours are drawn by a digest of their names",
        "model.unlabelled=40000",
    ),
    Statement(
        "5.1",
        "The test set in four random parts, five trainings, two-tailed t-test over the twenty scores",
        "benchmarks.protocol.protocol:Protocol",
        SAME,
        "paired by part and trial, the same parts for every model, and a crossed test beside it",
    ),
)
