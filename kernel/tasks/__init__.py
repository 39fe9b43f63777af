"""Tasks: ring-3 programs, how they are loaded, scheduled and served."""
