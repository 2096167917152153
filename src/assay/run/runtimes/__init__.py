"""One file per engine, each giving a `Session`."""
