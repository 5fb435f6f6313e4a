"""How a newcomer gets what others have: snapshots, and what block sync waits for (blocks: replication/catchup.py)."""
