"""Folkering's kernel: services in Python above a nucleus in machine code.

It reaches the hardware only as a driver does, through `kernel.hardware.Hardware`: ports, MMIO, guest memory and interrupts.
Start with `kernel.kernel`, which lists what happens at boot, line by line.
"""
