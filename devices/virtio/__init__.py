"""Virtio: queues, the transport over PCI, and the devices behind it."""
