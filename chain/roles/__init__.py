"""Miner and custodian: clients of a node's public API."""
