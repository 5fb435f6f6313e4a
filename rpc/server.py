"""Home of the RPC server: one port for JSON-RPC over HTTP and WebSocket, blobs, metrics and the status page."""

from __future__ import annotations

import asyncio
import errno
import time

import orjson
from aiohttp import web

from chain.version import VERSION
from rpc.backend import Backend
from rpc.blob_routes import get_blob, put_blob
from rpc.bodies import Bodies
from rpc.dispatch import Dispatcher
from rpc.eth import Ethereum
from rpc.execution import Execution
from rpc.fees import Fees
from rpc.filters import Filters
from rpc.learn import Learning
from rpc.learn_accounts import LearningAccounts
from rpc.learn_proofs import Proofs
from rpc.limits import PortInUse, RateLimit, Settings, host_is_allowed, is_loopback, origin_is_allowed
from rpc.logs import LogSearch
from rpc.methods import Answerers, all_methods
from rpc.metrics import CONTENT_TYPE as METRICS_TYPE
from rpc.metrics import Metrics, NodeCollector
from rpc.pages import status_page
from rpc.records import Records
from rpc.responses import JSON_HEADERS, json_response
from rpc.subscriptions import Subscriptions
from rpc.websocket import WebSocketConnection

JSON_TYPES = frozenset({"application/json", "application/json-rpc", "application/jsonrequest"})
WEBSOCKET_PATHS = ("/", "/ws")
HEALTHY_BLOCK_AGE_SECONDS = 60.0
SHUTDOWN_SECONDS = 2.0
HEARTBEAT_SECONDS = 30.0


class Server:
    """Serves a backend on one port, between `start` and `close`."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.settings = settings
        self._backend = backend
        records = Records(backend)
        search = LogSearch(records, settings)
        learning = Learning(records)
        self._filters = Filters(records, search, settings, time.monotonic)
        self._subscriptions = Subscriptions(
            records, settings, {"rounds": learning.round_events, "updates": learning.update_events}
        )
        answerers = Answerers(
            ethereum=Ethereum(records),
            fees=Fees(records),
            execution=Execution(records),
            search=search,
            filters=self._filters,
            subscriptions=self._subscriptions,
            learning=learning,
            accounts=LearningAccounts(records, learning),
            proofs=Proofs(records),
        )
        methods = all_methods(answerers, VERSION)
        self._dispatcher = Dispatcher(
            methods,
            backend.submit,
            batch_calls_max=settings.batch_calls_max,
            response_bytes_max=settings.response_bytes_max,
        )
        (discover,) = (method.handler for method in methods if method.name == "rpc.discover")
        self._openrpc: bytes = orjson.dumps(discover(), option=orjson.OPT_INDENT_2)
        self._bodies = Bodies(waiting_bytes_max=settings.waiting_bytes_max, seconds_max=settings.body_seconds_max)
        self._rates = RateLimit(settings, time.monotonic)
        self._connections: set[WebSocketConnection] = set()
        self.metrics = Metrics(
            NodeCollector(backend, self._dispatcher, lambda: len(self._connections), self._subscriptions.count)
        )
        self._runner: web.ServerRunner | None = None
        self._unfollow = [
            backend.on_block(self._subscriptions.block),
            backend.on_pending(self._subscriptions.pending),
            backend.on_pending(self._filters.pending),
        ]

    async def start(self) -> int:
        """Listen; the port, which matters where the settings say 0. Raises PortInUse."""
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        site = web.TCPSite(runner, self.settings.host, self.settings.port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortInUse(
                f"port {self.settings.port} on {self.settings.host} is in use: stop what listens there, or choose "
                "another with --rpc-port"
            ) from error
        self._runner = runner
        port: int = runner.addresses[0][1]
        return port

    async def close(self) -> None:
        """Stop listening and end all connections."""
        for unfollow in self._unfollow:
            unfollow()
        await asyncio.gather(*(connection.close() for connection in self._connections), return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    # --------------------------------------------------------------------------------------------------- requests

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every request: calls first, as they are many."""
        headers = request.headers
        if not host_is_allowed(headers.get("Host", ""), self.settings.allowed_hosts):
            return web.Response(status=403, text="invalid host specified: call this node by its address\n")
        origin = headers.get("Origin")
        try:
            if request.method == "POST":
                response: web.StreamResponse = await self._post(request)
            elif request.method == "OPTIONS":
                response = self._preflight(request)
            else:
                response = await self._other(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=error.text, headers=_kept_headers(error))
        if origin is not None and not response.prepared:
            self._allow_origin(response, origin)
        return response

    async def _post(self, request: web.BaseRequest) -> web.StreamResponse:
        """JSON-RPC. Only JSON types are taken: a page of another origin can't send them without being asked first."""
        if request.path != "/":
            raise web.HTTPNotFound(text="calls go to POST /\n")
        if request.headers.get("Content-Type") != "application/json" and request.content_type not in JSON_TYPES:
            raise web.HTTPUnsupportedMediaType(text="send calls with Content-Type: application/json\n")
        body = await self._bodies.read(request, self.settings.body_bytes_max)
        response = await self._dispatcher.answer(body, None, self._meter(request))
        if response is None:
            return web.Response(status=204)
        return json_response(request, response)

    def _meter(self, request: web.BaseRequest) -> _Meter | None:
        address = request.remote or ""
        return None if is_loopback(address) else _Meter(self._rates, address)

    async def _other(self, request: web.BaseRequest) -> web.StreamResponse:
        path, method = request.path, request.method
        if path.startswith("/blobs"):
            return await self._blobs(request)
        if method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(method, ["GET", "HEAD", "POST"])
        if path in WEBSOCKET_PATHS and request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._websocket(request)
        match path:
            case "/":
                return web.Response(text=status_page(self._backend), content_type="text/html")
            case "/health":
                return self._health()
            case "/metrics":
                return web.Response(body=self.metrics.page(), headers={"Content-Type": METRICS_TYPE})
            case "/openrpc.json":
                return web.Response(body=self._openrpc, headers=JSON_HEADERS)
        raise web.HTTPNotFound(text="nothing here: /, /health, /metrics, /openrpc.json and /blobs/<root> are\n")

    async def _blobs(self, request: web.BaseRequest) -> web.StreamResponse:
        meter = self._meter(request)
        if meter is not None and not meter(1):
            raise web.HTTPTooManyRequests(text="too many requests, slow down\n")
        if request.method in ("GET", "HEAD") and request.path.startswith("/blobs/"):
            return await get_blob(request, self._backend)
        if request.method == "PUT" and request.path == "/blobs":
            if not self._trusts_origin(request):  # as for WebSockets: any page can reach loopback
                raise web.HTTPForbidden(text="uploads from pages of this origin are not allowed\n")
            return await put_blob(request, self._backend, self._bodies, self.settings.blob_bytes_max)
        raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD", "PUT"])

    def _health(self) -> web.Response:
        """200 while blocks come and the node has caught up, else 503; the body says how it stands."""
        tip = self._backend.tip().header
        age = time.time() - tip.time_ms / 1000
        syncing = self._backend.syncing() is not None
        healthy = not syncing and age < HEALTHY_BLOCK_AGE_SECONDS
        body = {"healthy": healthy, "height": tip.height, "blockAgeSeconds": round(age, 3), "syncing": syncing}
        return web.Response(status=200 if healthy else 503, body=orjson.dumps(body), headers=JSON_HEADERS)

    async def _websocket(self, request: web.BaseRequest) -> web.StreamResponse:
        if not self._trusts_origin(request):
            raise web.HTTPForbidden(text="WebSockets from pages of this origin are not allowed: see --rpc-cors\n")
        if len(self._connections) >= self.settings.websocket_connections_max:
            raise web.HTTPServiceUnavailable(text="too many WebSocket connections\n")
        socket = web.WebSocketResponse(
            compress=False,
            heartbeat=HEARTBEAT_SECONDS,
            max_msg_size=self.settings.websocket_message_bytes_max,
            timeout=SHUTDOWN_SECONDS,
        )
        await socket.prepare(request)
        connection = WebSocketConnection(
            socket, self._dispatcher, self._subscriptions, self.settings, self._meter(request)
        )
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)
        return socket

    # ----------------------------------------------------------------------------------------------------- origins

    def _trusts_origin(self, request: web.BaseRequest) -> bool:
        headers = request.headers
        return origin_is_allowed(headers.get("Origin"), headers.get("Host", ""), self.settings.allowed_origins)

    def _preflight(self, request: web.BaseRequest) -> web.Response:
        """A browser asks whether a page of another origin may call: only those that were given may."""
        origin = request.headers.get("Origin", "")
        if not self._gives_cors(origin):
            raise web.HTTPForbidden(text="calls from pages of this origin are not allowed: see --rpc-cors\n")
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "GET, POST, PUT",
                "Access-Control-Allow-Headers": "Content-Type, Range",
                "Access-Control-Max-Age": "600",
            },
        )

    def _gives_cors(self, origin: str) -> bool:
        return origin in self.settings.allowed_origins or "*" in self.settings.allowed_origins

    def _allow_origin(self, response: web.StreamResponse, origin: str) -> None:
        if self._gives_cors(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"


class _Meter:
    """Counts one client's calls against its rate."""

    def __init__(self, rates: RateLimit, address: str) -> None:
        self._rates = rates
        self._address = address

    def __call__(self, calls: int) -> bool:
        return self._rates.allow(self._address, calls)


def _kept_headers(error: web.HTTPException) -> dict[str, str]:
    return {name: error.headers[name] for name in ("Allow", "Content-Range") if name in error.headers}
