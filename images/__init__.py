"""What the machine boots: ROM, nucleus and archive, built from assembly at first use (docs/boot.md).

This room stands beside the others: it imports neither the hardware side nor the system side, only reads the nucleus's source files.
"""
