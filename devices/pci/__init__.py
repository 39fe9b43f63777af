"""PCI: configuration space, the host bridge, the LPC bridge."""
