"""The peer-to-peer network: authenticated connections, bounded frames, gossip of transactions and blobs, sync."""
