"""Readers of results that Assay did not make. They refuse to guess: what was not recognised is listed."""
