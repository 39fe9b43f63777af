"""Our chips beside QEMU's: one guest, one script of accesses, two sets of answers that must be the same but for what `differences.py` names."""
