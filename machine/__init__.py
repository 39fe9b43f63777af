"""A virtual x86-64 PC: board, processors, memory, loaders."""
