"""What a node keeps: the ledger in LevelDB, its state tree in memory, blobs, the vote log; the folder around them."""
