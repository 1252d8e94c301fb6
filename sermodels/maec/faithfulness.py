"""Statements of the MAEC paper and where this code does them; what these columns are: `core/faithfulness.py`.

Of the paper, section 2 was at hand as notes with all equations; of sections 3 and 4 nothing was, so that nothing is
said of their settings and results.
"""

from __future__ import annotations

from ..core.faithfulness import DIFFERS, SAME, UNKNOWN, Statement

PAPER = "Fu, Liu, Ishi and Ishiguro, ICASSP 2021; section 2, from notes"
NETWORK, MODEL, LAYERS = "sermodels.maec.network", "sermodels.maec.model", "sermodels.maec.layers"

STATEMENTS = (
    Statement(
        "2",
        "45 features of a frame by openSMILE's Emobase 2010: MFCC, F0, zero crossings and their statistics",
        "features.emobase45:Extractor.extract",
        DIFFERS,
        "that set has no zero crossings; the release selects 45 columns of emobase with first and second deltas",
    ),
    Statement(
        "2 (Eq. 1)",
        "Segments 50 ms wide, 10 ms apart",
        "sermodels.maec.instances:BagConfig.cut",
        DIFFERS,
        "the release has 50 and 10 frames of 10 ms; 70 of the literal ones would cover less than a second",
        "model.window=5 model.hop=1",
    ),
    Statement(
        "silent",
        "How many segments a bag has",
        "sermodels.maec.instances:BagConfig.count",
        UNKNOWN,
        "70, of longer ones the last, as in the release",
        "model.instances=70 model.keep=last",
    ),
    Statement(
        "silent",
        "Normalisation of features",
        "sermodels.inputs.normalisation:FrameNormaliser",
        UNKNOWN,
        "by speaker, as the system that the features come from; a score's signature says so",
        "model.normalise=speaker",
    ),
    Statement(
        "2",
        "Three inputs: the user's previous turn, the interlocutor's turn, the current one",
        "sermodels.maec.instances:context_ids",
        SAME,
        switch="model.context=true",
    ),
    Statement("2", "One encoder branch for each turn", f"{NETWORK}:MaecNetwork.encode", SAME),
    Statement(
        "Eq. 2",
        "A block of two plain convolutions and a dilated one, with a convolution as shortcut",
        f"{LAYERS}:Block.forward",
        SAME,
        "the release's dilated convolution has width 1, so that it is none",
        "model.dilated_kernel=3",
    ),
    Statement(
        "silent",
        "Number and sizes of blocks and layers",
        f"{LAYERS}:BlockConfig",
        UNKNOWN,
        "two blocks of 512, 512, 128 channels, a bottleneck and a GRU of 512, as in the release",
        "model.widths=512,512,128 model.width=512",
    ),
    Statement("Eq. 3", "A bottleneck for each segment, in their order", f"{NETWORK}:Branch.forward", SAME),
    Statement("Eq. 4", "Key = BiGRU(H)", f"{LAYERS}:BiGru.forward", SAME),
    Statement(
        "silent",
        "The GRU's activations",
        f"{LAYERS}:Direction.forward",
        UNKNOWN,
        "a sigmoid candidate, as in the release",
        "model.candidate=sigmoid",
    ),
    Statement("Eq. 4", "A = Attention(Key, BT); KQ = GlobalPooling(A)", f"{NETWORK}:attention", SAME),
    Statement(
        "Eq. 4",
        "V = GlobalPooling(Key); HF = KQ * V",
        f"{NETWORK}:Branch.forward",
        SAME,
        "the release pools the bottleneck",
        "model.value=key",
    ),
    Statement(
        "Eq. 5",
        "PI = Softmax(HF_pre * HF_int)",
        f"{NETWORK}:fuse",
        SAME,
        "which leaves a gate near 1 / width; fixed multiplies it by the width",
        "model.gate=softmax",
    ),
    Statement(
        "Eq. 5",
        "Z = Concatenate(HF_cur * PI, HF_cur)",
        f"{NETWORK}:fuse",
        SAME,
        "the release's Z has the context's HF too",
        "model.latent=gated",
    ),
    Statement("2", "A discriminator of two fully connected layers", f"{NETWORK}:MaecNetwork.judge", SAME),
    Statement(
        "2",
        "It tells N(mu, sigma) from Z",
        "sermodels.maec.losses:Prior.draw",
        UNKNOWN,
        "mu and sigma are not named: 0 and 1, of the release's first version; its later one has 1 and 0.3",
        "model.prior_means=0 model.prior_std=1",
    ),
    Statement("Eq. 6", "The discriminator's loss", "sermodels.maec.losses:discriminator_loss", SAME),
    Statement("2", "A dense layer for emotion and one for gender", f"{NETWORK}:MaecNetwork.heads", SAME),
    Statement(
        "Eq. 7", "L_C: both cross-entropies, equally", f"{MODEL}:Model.second_losses", SAME, switch="model.gender=true"
    ),
    Statement(
        "Eq. 7",
        "The logarithms have no sign, so that a minimum would be of the wrong side",
        f"{MODEL}:Model.second_losses",
        DIFFERS,
        "read as cross-entropies",
    ),
    Statement(
        "Eq. 8",
        "The encoder minimises log(1 - D(Z)) too, with weight 1",
        "sermodels.maec.adversarial:adversarial_losses",
        SAME,
        "the release never passes that term to the encoder",
        "model.first_pass=adversarial model.adversarial_weight=1 model.saturating=true",
    ),
    Statement("2", "First encoder and discriminator, then the classification", f"{MODEL}:Model.epoch", SAME),
    Statement(
        "silent",
        "Optimiser, step size, batch",
        f"{MODEL}:Model.optimisers",
        UNKNOWN,
        "Adam 1e-3 and 32 samples, as in the release",
        "train.learning_rate=1e-3 train.batch_size=32",
    ),
    Statement(
        "silent",
        "Epochs, and which one is kept",
        "sermodels.training.settings:TrainConfig",
        UNKNOWN,
        "at most 100, the best dev score; the release keeps the best test accuracy, which is not repeated",
        "train.epochs=100 train.patience=15",
    ),
)
