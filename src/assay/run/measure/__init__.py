"""Clock, memory, environment, machine peaks, energy, quality."""
