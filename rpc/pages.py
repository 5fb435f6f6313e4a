"""Home of GET /: a page that says what this is and how it stands, for who opens the address in a browser."""

from __future__ import annotations

from html import escape

from rpc.backend import Backend

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<title>Lyceum node</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
th {{ text-align: left; font-weight: 600; padding: .15rem 1.5rem .15rem 0; }}
td {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere; }}
</style>
<h1>Lyceum node</h1>
<table>
{rows}
</table>
<p>This address speaks JSON-RPC 2.0: <code>POST /</code>, or a WebSocket. All methods are described in
<a href="/openrpc.json">openrpc.json</a>; <a href="/health">health</a> and <a href="/metrics">metrics</a> are for
machines.</p>
</html>
"""


def status_page(backend: Backend) -> str:
    """The page, with the tip as it is now."""
    tip = backend.tip()
    pending, queued = backend.pool.counts()
    rows = (
        ("Version", backend.client_version),
        ("Chain id", str(backend.chain_id)),
        ("Genesis", "0x" + backend.genesis_hash.hex()),
        ("Height", str(tip.header.height)),
        ("Block", "0x" + tip.hash.hex()),
        ("State root", "0x" + tip.header.state_root.hex()),
        ("Weights root", "0x" + tip.header.weights_root.hex()),
        ("Base fee", f"{tip.header.base_fee / 1e9:g} gwei"),
        ("Transactions that wait", f"{pending} ready, {queued} behind a gap"),
        ("Peers", str(backend.peer_count())),
    )
    return _PAGE.format(rows="\n".join(f"<tr><th>{escape(name)}<td>{escape(value)}" for name, value in rows))
