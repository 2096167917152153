"""One file per build-time change: its options class and `apply`."""
