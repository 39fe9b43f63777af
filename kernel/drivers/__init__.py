"""Drivers: each drives one chip through `kernel.hardware.Hardware` and nothing else."""
