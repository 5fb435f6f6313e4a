"""The learning contract's parts: what it keeps in state, and what its calls and the heights do to that."""
