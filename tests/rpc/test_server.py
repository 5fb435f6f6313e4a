"""Home of the tests of HTTP beside JSON-RPC: whom the server trusts, its limits, blobs, pages and ports."""

from __future__ import annotations

import http.client
import secrets
import socket
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from learning.commitment import blob_root
from rpc.limits import PortInUse
from tests.rpc.live import LiveChain

CALL = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
JSON = {"Content-Type": "application/json"}


def request(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case and body; underscores in header names stand for dashes."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def post(url: str, body: bytes = CALL, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return request(url, "POST", "/", body, **({"Content_Type": "application/json"} | headers))


def test_only_known_hosts_are_answered(live: LiveChain) -> None:
    for host, status in (("127.0.0.1:1", 200), ("localhost", 200), ("rebound.example:8545", 403)):
        assert post(live.url, Host=host)[0] == status
        assert request(live.url, "GET", "/health", Host=host)[0] in ((200, 503) if status == 200 else (403,))
    with live.other_server(allowed_hosts=("node.example",)) as url:
        assert post(url, Host="node.example")[0] == 200
        assert post(url, Host="localhost")[0] == 403


def test_only_json_is_taken_for_calls(live: LiveChain) -> None:
    assert post(live.url, Content_Type="application/json; charset=utf-8")[0] == 200
    assert post(live.url, Content_Type="text/plain")[0] == 415
    assert request(live.url, "POST", "/", CALL)[0] == 415
    assert request(live.url, "POST", "/other", CALL, Content_Type="application/json")[0] == 404


def test_errors_are_answered_with_status_200_and_notifications_with_204(live: LiveChain) -> None:
    status, headers, body = post(live.url, b"{")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert orjson.loads(body)["error"]["code"] == -32700
    assert post(live.url, b'{"jsonrpc":"2.0","method":"eth_chainId"}')[::2] == (204, b"")


def test_bodies_are_bounded_before_they_are_read(live: LiveChain) -> None:
    with live.other_server(body_bytes_max=1000) as url:
        assert post(url, CALL + b" " * (1000 - len(CALL)))[0] == 200
        assert post(url, CALL + b" " * 1000)[0] == 413
        chunks = iter([CALL] * 50)
        assert request(url, "POST", "/", chunks, Content_Type="application/json")[0] == 413


def test_bodies_that_are_still_coming_are_bounded_together_and_in_time(live: LiveChain) -> None:
    with live.other_server(waiting_bytes_max=2000, body_seconds_max=0.3) as url:
        host, _, port = urlsplit(url).netloc.partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as slow:
            head = (
                "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1500\r\n\r\n"
            )
            slow.sendall(head.encode())
            assert exchange(url, head.encode()).startswith(b"HTTP/1.1 503 ")
            assert post(url)[0] == 200
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection((host, int(port)), timeout=10) as again:
            again.sendall(head.encode() + CALL)
            again.sendall(b" " * (1500 - len(CALL)))
            assert again.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_batch_and_a_response_are_bounded(live: LiveChain) -> None:
    with live.other_server(batch_calls_max=3, response_bytes_max=2000) as url:
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
        assert len(live.post([call] * 3, url=url)) == 3
        assert live.post([call] * 4, url=url)["error"]["code"] == -32600
        assert live.post(call | {"method": "rpc.discover"}, url=url)["error"]["code"] == -32003


def test_pages_of_other_origins_get_no_leave_unless_given(live: LiveChain) -> None:
    page = "https://page.example"
    status, headers, _ = request(live.url, "OPTIONS", "/", Origin=page, Access_Control_Request_Method="POST")
    assert status == 403
    assert "access-control-allow-origin" not in headers
    assert "access-control-allow-origin" not in post(live.url, Origin=page)[1]
    with live.other_server(allowed_origins=(page,)) as url:
        status, headers, _ = request(url, "OPTIONS", "/", Origin=page, Access_Control_Request_Method="POST")
        assert (status, headers["access-control-allow-origin"]) == (204, page)
        assert "POST" in headers["access-control-allow-methods"]
        assert "Content-Type" in headers["access-control-allow-headers"]
        assert post(url, Origin=page)[1]["access-control-allow-origin"] == page
        assert request(url, "OPTIONS", "/", Origin="https://other.example")[0] == 403


def test_a_blob_goes_in_and_comes_out_whole_or_in_part(live: LiveChain) -> None:
    task = live.call("learn_tasks")[0]["task"]
    content = secrets.token_bytes(1000)
    status, _, body = request(live.url, "PUT", f"/blobs?task={task}", content)
    root = "0x" + blob_root(content).hex()
    assert (status, orjson.loads(body)) == (201, {"root": root})
    path = f"/blobs/{root}"
    status, headers, body = request(live.url, "GET", path)
    assert (status, body, headers["content-length"]) == (200, content, "1000")
    assert headers["content-type"] == "application/octet-stream"
    assert request(live.url, "GET", "/blobs/" + root[2:])[2] == content
    status, headers, body = request(live.url, "HEAD", path)
    assert (status, headers["content-length"], body) == (200, "1000", b"")
    for asked, start, stop in (
        ("0-0", 0, 1),
        ("10-19", 10, 20),
        ("990-", 990, 1000),
        ("-5", 995, 1000),
        ("5-9999", 5, 1000),
    ):
        status, headers, body = request(live.url, "GET", path, Range=f"bytes={asked}")
        assert (status, body) == (206, content[start:stop]), asked
        assert headers["content-range"] == f"bytes {start}-{stop - 1}/1000"
    for asked in ("1000-", "20-10", "x"):
        status, headers, _ = request(live.url, "GET", path, Range=f"bytes={asked}")
        assert (status, headers["content-range"]) == (416, "bytes */1000"), asked


def test_wrong_blobs_are_refused_in_words(live: LiveChain) -> None:
    task = live.call("learn_tasks")[0]["task"]
    assert request(live.url, "GET", "/blobs/0x" + "00" * 32)[0] == 404
    assert request(live.url, "GET", "/blobs/0x00")[0] == 400
    assert request(live.url, "PUT", "/blobs", b"x")[0] == 400
    assert request(live.url, "PUT", f"/blobs?task=0x{'00' * 32}", b"x")[0] == 422
    assert request(live.url, "PUT", f"/blobs?task={task}", b"x" * (2 << 20))[0] == 422
    assert request(live.url, "PUT", f"/blobs?task={task}", b"x", Origin="https://page.example")[0] == 403
    assert request(live.url, "DELETE", f"/blobs?task={task}")[0] == 405
    with live.other_server(blob_bytes_max=100) as url:
        assert request(url, "PUT", f"/blobs?task={task}", b"x" * 101)[0] == 413


def test_pages_for_people_and_machines(live: LiveChain) -> None:
    status, headers, page = request(live.url, "GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert f"<td>{live.height}\n".encode() in page
    status, _, body = request(live.url, "GET", "/health")
    assert (status, orjson.loads(body)["height"]) == (200, live.height)
    assert orjson.loads(request(live.url, "GET", "/openrpc.json")[2]) == live.call("rpc.discover")
    assert request(live.url, "GET", "/none")[0] == 404
    status, headers, _ = request(live.url, "DELETE", "/")
    assert (status, headers["allow"]) == (405, "GET,HEAD,POST")


def test_metrics_count_calls_and_errors(live: LiveChain) -> None:
    with live.other_server() as url:
        live.post([{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}] * 3, url=url)
        live.post({"jsonrpc": "2.0", "id": 1, "method": "none"}, url=url)
        lines = dict(
            line.rsplit(b" ", 1) for line in request(url, "GET", "/metrics")[2].splitlines() if line[:1] != b"#"
        )
        assert lines[b'lyceum_rpc_calls_total{method="eth_chainId"}'] == b"3.0"
        assert lines[b'lyceum_rpc_errors_total{code="-32601"}'] == b"1.0"
        assert float(lines[b"lyceum_height"]) == live.height


def test_a_port_in_use_is_said_to_be_so(live: LiveChain) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1 is in use"):
            live.other_server(port=port).__enter__()


def exchange(url: str, request_text: bytes) -> bytes:
    """Everything that comes back on one connection until the server closes it, or is silent for a moment."""
    host, _, port = urlsplit(url).netloc.partition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=0.5) as connection:
        connection.sendall(request_text)
        try:
            while chunk := connection.recv(1 << 16):
                received += chunk
        except TimeoutError:
            return received + b"(open)"
    return received + b"(closed)"


def call_text(version: str, number: int, connection: str = "") -> bytes:
    body = orjson.dumps({"jsonrpc": "2.0", "id": number, "method": "eth_chainId"})
    lines = [
        f"POST / HTTP/{version}",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"Connection: {connection}"] if connection else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_connections_are_kept_or_closed_as_the_client_asks(live: LiveChain) -> None:
    kept = exchange(live.url, call_text("1.1", 1) + call_text("1.1", 2) + call_text("1.1", 3))
    assert kept.endswith(b"(open)")
    heads = kept.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [orjson.loads(each.split(b"\r\n\r\n")[1].removesuffix(b"(open)"))["id"] for each in heads] == [1, 2, 3]
    assert all(b"\r\nDate: " in each for each in heads)
    for closing in (call_text("1.1", 1, "close"), call_text("1.0", 1)):
        answered = exchange(live.url, closing)
        assert answered.startswith(b"HTTP/1.")
        assert b'"id":1' in answered
        assert answered.endswith(b"(closed)")


def test_a_large_answer_comes_whole(live: LiveChain) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}
    answers = live.post([call] * 20)
    assert [answer["result"] for answer in answers] == [live.call("rpc.discover")] * 20


def test_a_client_that_reads_no_answers_is_cut_off(live: LiveChain) -> None:
    host, _, port = urlsplit(live.url).netloc.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        body = orjson.dumps([{"jsonrpc": "2.0", "id": 1, "method": "eth_syncing"}] * 900)
        text = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        text += b"Content-Length: %d\r\n\r\n" % len(body) + body
        with pytest.raises(ConnectionError):
            connection.sendall(text * 2000)
