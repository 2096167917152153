"""One file per kind of source; each has `recognises(path)` and `open_checkpoint(path)`."""
