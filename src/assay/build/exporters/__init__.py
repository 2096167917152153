"""One file per format of artifact."""
