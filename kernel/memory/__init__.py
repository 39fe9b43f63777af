"""Memory: frames of the real memory map, and the page tables made of them."""
