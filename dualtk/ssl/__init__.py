"""Self-supervised pre-training: wav2vec 2.0 (Baevski et al. 2020), in the passes of a dual-mode supernet."""
