"""Tendermint as a function: step(state, input) -> state, effects."""
