"""Statements of the paper on semantic fusion and where this code does them; these columns: `core/faithfulness.py`.

The paper was at hand as notes; its layer sizes and its table of results were not.
"""

from __future__ import annotations

from ..core.faithfulness import DIFFERS, SAME, UNKNOWN, Statement

PAPER = "Tzirakis, Nguyen, Zafeiriou and Schuller, ICASSP 2021 (arXiv:2103.02993); from notes"
NETWORK, MODEL = "sermodels.semantic_fusion.network", "sermodels.semantic_fusion.model"
LAYERS, FRAMES = "sermodels.semantic_fusion.layers", "sermodels.semantic_fusion.frames"

STATEMENTS = (
    Statement(
        "3.1",
        "Speech2Vec makes a vector of a word from its sound",
        "features.words.speech2vec:train",
        SAME,
        "of a table of words, as the release does; model.encoder makes one of each spoken word instead",
    ),
    Statement("3.1", "Word2Vec makes vectors of the words of the transcripts", "features.words.word2vec:train", SAME),
    Statement(
        "3.1",
        "The speech vectors are mapped into the text space by an adversarial game",
        "features.spaces.adversarial:play",
        SAME,
    ),
    Statement(
        "3.1",
        "Frequent words then refine the map, by a singular value decomposition",
        "features.spaces.orthogonal:refine",
        SAME,
    ),
    Statement(
        "3.1",
        "Meaning is captured by the speech modality alone",
        f"{FRAMES}:Words",
        DIFFERS,
        "the release looks vectors up by the words of a transcript, at test time too; the study tells both apart",
    ),
    Statement(
        "silent",
        "Where words begin and end, words without a vector",
        f"{FRAMES}:Frames.vectors",
        UNKNOWN,
        "the corpus's times or serbench words align; uniform numbers, as in the release",
        "model.unknown=random",
    ),
    Statement(
        "3.2", "Three convolutions and maxima over the raw waveform", f"{NETWORK}:SemanticNetwork.paralinguistic", SAME
    ),
    Statement(
        "silent",
        "Their sizes",
        f"{LAYERS}:ConvPool.forward",
        UNKNOWN,
        "50, 125 and 250 channels, widths 8, 6, 6, maxima of 10, 5, 5, as in the release",
        "model.filters=50,125,250 model.kernels=8,6,6 model.pools=10,5,5",
    ),
    Statement(
        "silent",
        "Sound of two speakers in one recording",
        f"{FRAMES}:Frames.audio",
        UNKNOWN,
        "a half of the frame for the recorded person, one for whoever else is heard, as in the release",
    ),
    Statement(
        "3.3",
        "Fusion by concatenation, for comparison",
        f"{NETWORK}:Fusion.forward",
        SAME,
        switch="model.fusion=concat",
    ),
    Statement(
        "3.3", "Sound and words are projected to one size and fused by attention", f"{NETWORK}:Attention.forward", SAME
    ),
    Statement(
        "3.3",
        "Three layers a, v, l; Attention(Attention(a, l), v)",
        f"{NETWORK}:Fusion.forward",
        SAME,
        "the release has Attention(Attention(a, v), l); nothing ties a stream to its emotion",
        "model.order=alv",
    ),
    Statement("3", "A single LSTM layer", f"{LAYERS}:PeepholeLstm.forward", SAME),
    Statement(
        "silent",
        "Its units and kind",
        f"{LAYERS}:PeepholeLstm",
        UNKNOWN,
        "256 with peepholes, as in the release",
        "model.units=256",
    ),
    Statement("4", "The loss is 1 - CCC", f"{MODEL}:Model.losses_of", SAME),
    Statement(
        "silent",
        "How the targets' losses are joined",
        f"{MODEL}:Model.losses_of",
        UNKNOWN,
        "equally; the release weighs them 1, 1/2, 1/3",
        "model.target_weights=equal",
    ),
    Statement(
        "4", "Adam with a fixed step size of 1e-4", f"{MODEL}:Model.optimisers", SAME, switch="train.learning_rate=1e-4"
    ),
    Statement("4", "25 sequences in a batch", f"{MODEL}:Model.batches", SAME, switch="train.batch_size=25"),
    Statement(
        "4",
        "Sequences of 300 steps, and waveforms of 10 s",
        f"{MODEL}:Model.batches",
        DIFFERS,
        "300 frames of 0.1 s are 30 s: both can't be had; the first is taken, the release has the second",
        "model.sequence=300",
    ),
    Statement("4", "Sound at 22,050 Hz", f"{FRAMES}:frame_samples", SAME, switch="model.sampling_rate=22050"),
    Statement(
        "4",
        "Dropout of 0.5",
        f"{LAYERS}:ConvPool",
        SAME,
        "after each convolution, as in the release",
        "model.dropout=0.5",
    ),
    Statement(
        "4",
        "Gradients of the LSTM are clipped at a norm of 5",
        "sermodels.training.settings:TrainConfig",
        DIFFERS,
        "the norm is that of all gradients",
        "train.clip_norm=5",
    ),
    Statement(
        "silent",
        "Delay of the annotators",
        "sermodels.semantic_fusion.delay:shifted",
        UNKNOWN,
        "none, as in the release",
        "model.delay_seconds=0",
    ),
    Statement(
        "silent",
        "Epochs, and which one is kept",
        "sermodels.training.settings:TrainConfig",
        UNKNOWN,
        "at most 60, the best dev score; the release keeps all below a fixed loss",
        "train.epochs=60 train.patience=15",
    ),
)
