"""The chips of a PC: one chip, one file. Knows nothing of the machine that it is wired into."""
