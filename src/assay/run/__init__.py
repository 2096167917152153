"""The second storey: an artifact becomes raw samples and facts."""
