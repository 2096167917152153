"""What is asked of a session: load, prefill, decode, generate."""
