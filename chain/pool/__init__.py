"""Transactions that wait for a block, and their way in."""
