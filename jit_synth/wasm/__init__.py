"""The direct WebAssembly lowering: plan -> source in a small language -> module bytes, with no toolchain."""
