"""The first storey: a checkpoint becomes an artifact."""
