"""One node's consensus over a network, without I/O: replica.py puts its parts together."""
