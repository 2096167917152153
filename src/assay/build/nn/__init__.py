"""Leaf modules that the families share; they import no family."""
