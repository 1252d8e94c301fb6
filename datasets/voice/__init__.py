"""The synthesiser of the demo and the miniature corpora: phones, vocal tract, speech-like sound."""
