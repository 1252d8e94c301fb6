"""From items to what a network takes: batches, chunks, padded sequences, waveforms, the unlabelled pool."""
