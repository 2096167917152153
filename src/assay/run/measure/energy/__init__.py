"""Energy meters behind one interface, one file per kind."""
