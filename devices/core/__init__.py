"""What every chip is made of: declared registers, buses, interrupt lines, DMA ports and virtual time."""
