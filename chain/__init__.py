"""A Lyceum node: ledger, learning contract, storage and the processes around them."""
