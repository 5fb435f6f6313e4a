"""Home of GET and PUT /blobs: whole blobs and ranges of them go out, sealed uploads come in."""

from __future__ import annotations

import orjson
from aiohttp import web

from chain.errors import InvalidInput
from rpc.backend import Backend
from rpc.bodies import Bodies
from rpc.formats import data
from rpc.parameters import InvalidParameter, hash32

RANGE_BYTES_MAX = 8 << 20  # of one answer to a range; the whole blob comes in pieces of it
OCTETS = "application/octet-stream"


def blob_root(path: str) -> bytes:
    """The root in "/blobs/<root>". Raises HTTPBadRequest."""
    name = path.removeprefix("/blobs/")
    try:
        return hash32(name if name.startswith("0x") else "0x" + name)
    except InvalidParameter as error:
        raise web.HTTPBadRequest(text=f"a blob is named by its root, 32 bytes in hex: {error}\n") from None


async def get_blob(request: web.BaseRequest, backend: Backend) -> web.StreamResponse:
    """A blob or, with a Range header, a part of it. It never changes, so caches may keep it for ever."""
    root = blob_root(request.path)
    size = backend.blob_size(root)
    if size is None:
        return web.Response(status=404, text=f"no blob {data(root)} here\n")
    start, stop = _range_of(request, size)
    partial = "Range" in request.headers
    headers = {
        "Content-Type": OCTETS,
        "Accept-Ranges": "bytes",
        "ETag": f'"{root.hex()}"',
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    if partial:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    response = web.StreamResponse(status=206 if partial else 200, headers=headers)
    response.content_length = stop - start
    first = await backend.read_blob(root, start, min(stop - start, RANGE_BYTES_MAX))
    if first is None:
        return web.Response(status=404, text=f"no blob {data(root)} here\n")
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    await response.write(first)
    start += len(first)
    while start < stop:
        piece = await backend.read_blob(root, start, min(stop - start, RANGE_BYTES_MAX))
        if not piece:  # gone meanwhile: the client sees that bytes are missing
            break
        await response.write(piece)
        start += len(piece)
    await response.write_eof()
    return response


def _range_of(request: web.BaseRequest, size: int) -> tuple[int, int]:
    """First byte and one past the last that are asked for. Raises HTTPRequestRangeNotSatisfiable."""
    try:
        start, stop, _ = request.http_range.indices(size)
    except ValueError:
        start, stop = 0, 0
    if start >= stop and (size or "Range" in request.headers):
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return start, stop


async def put_blob(request: web.BaseRequest, backend: Backend, bodies: Bodies, bytes_max: int) -> web.Response:
    """Take a sealed blob for `?task=ID`; answers with its root."""
    try:
        task = hash32(request.query.get("task", ""))
    except InvalidParameter as error:
        raise web.HTTPBadRequest(text=f"say which task it is for, /blobs?task=0x...: {error}\n") from None
    content = await bodies.read(request, bytes_max)
    try:
        root = await backend.put_blob(task, request.remote or "", content)
    except InvalidInput as refusal:
        return web.Response(status=422, text=f"{refusal}\n")
    return web.Response(status=201, body=orjson.dumps({"root": data(root)}), content_type="application/json")
