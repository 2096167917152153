"""The fourth storey: what lasts."""
