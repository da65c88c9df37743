"""Learning to hear: sampled pianos, synthetic excerpts, the audio network, its training and evaluation."""
