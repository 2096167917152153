"""One file per suspicion, and the runner that lays them all on a result."""
