"""Assay: build every variant of a language model, measure it honestly, and keep the decision with its number."""
