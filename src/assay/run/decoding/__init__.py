"""Loops over a `Session`: greedy and, later, sampling and speculative decoding."""
