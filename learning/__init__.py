"""The shared model: exact arithmetic, updates, sealing and settlement. Knows tensors and bytes, never a chain."""
