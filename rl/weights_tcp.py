"""A store on another host, over TCP: for reading what a trainer keeps in its memory.

A request is a length (4 bytes) and JSON; an answer is a status byte, a length (8 bytes) and bytes.
There is no authentication: serve on an address of the cluster's own network. What arrives damaged
or cut off is found by the reader's checksums, as from any store.
"""

import base64
import contextlib
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from typing import Any

from rl.weights_store import Store, WeightsGone

LIMIT = 1 << 16  # bytes of a request
OK, GONE, FAILED = range(3)


@contextlib.contextmanager
def serve(store: Store, host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[str, int]]:
    """Serves a store from a thread until the context ends; gives the address, port 0 = any free."""

    connections: set[socket.socket] = set()

    class Handler(socketserver.BaseRequestHandler):
        def setup(self) -> None:
            connections.add(self.request)

        def finish(self) -> None:
            connections.discard(self.request)

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError, EOFError):
                while True:
                    _answer(store, self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, allow_reuse_address = True, True

    with Server((host, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[:2]  # type: ignore[misc]
        finally:
            server.shutdown()
            thread.join()
            for connection in connections.copy():
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def tcp_store(host: str, port: int, timeout_s: float = 60.0) -> Iterator[Store]:
    """What is served at an address, until the context ends; connects anew when it has to.

    Reading raises OSError where the other side does not answer.
    """
    client = _Client(host, port, timeout_s)

    def manifests(version: int) -> dict[int, bytes]:
        found = json.loads(client.ask(do="manifests", version=version))
        return {int(part): base64.b64decode(text) for part, text in found.items()}

    def read(version: int, part: int, offset: int, size: int) -> bytearray:
        return client.ask(do="read", version=version, part=part, offset=offset, size=size)

    def refuse(*_: Any) -> None:
        raise PermissionError("a store on another host is only read from")

    try:
        yield Store(
            write=refuse,
            commit=refuse,
            versions=lambda: json.loads(client.ask(do="versions")),
            manifests=manifests,
            read=read,
            drop=refuse,
            delete=refuse,
        )
    finally:
        client.close()


class _Client:
    """One connection, for one request at a time."""

    def __init__(self, host: str, port: int, timeout_s: float):
        self.address, self.timeout_s = (host, port), timeout_s
        self.lock = threading.Lock()
        self.connection: socket.socket | None = None

    def ask(self, **request: Any) -> bytearray:
        with self.lock:
            if self.connection is not None:
                with contextlib.suppress(OSError, EOFError):
                    return _ask(self.connection, request)
                self._drop()  # the server may have been started again since
            try:
                self.connection = socket.create_connection(self.address, self.timeout_s)
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return _ask(self.connection, request)
            except (OSError, EOFError) as error:
                self._drop()
                where = ":".join(map(str, self.address))
                raise ConnectionError(f"weights at {where}: {error}") from error

    def close(self) -> None:
        with self.lock:
            self._drop()

    def _drop(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def _ask(connection: socket.socket, request: dict[str, Any]) -> bytearray:
    text = json.dumps(request).encode()
    connection.sendall(struct.pack("!I", len(text)) + text)
    status, size = struct.unpack("!BQ", _receive(connection, 9))
    payload = _receive(connection, size)
    if status == GONE:
        raise WeightsGone(payload.decode())
    if status == FAILED:
        raise RuntimeError(f"the server of weights: {payload.decode()}")
    return payload


def _answer(store: Store, connection: socket.socket) -> None:
    (size,) = struct.unpack("!I", _receive(connection, 4))
    if size > LIMIT:
        raise ConnectionError(f"a request of {size} bytes")
    try:
        status, payload = OK, _do(store, json.loads(_receive(connection, size)))
    except WeightsGone as error:
        status, payload = GONE, str(error).encode()
    except Exception as error:
        status, payload = FAILED, repr(error).encode()
    view = memoryview(payload).cast("B")
    connection.sendall(struct.pack("!BQ", status, len(view)))
    connection.sendall(view)


def _do(store: Store, request: dict[str, Any]) -> Any:
    what = request.pop("do")
    if what == "versions":
        return json.dumps(list(store.versions())).encode()
    if what == "manifests":
        found = store.manifests(request["version"])
        return json.dumps({p: base64.b64encode(t).decode() for p, t in found.items()}).encode()
    if what == "read":
        return store.read(request["version"], request["part"], request["offset"], request["size"])
    raise ValueError(f"unknown request {what!r}")


def _receive(connection: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        num = connection.recv_into(view[done:])
        if not num:
            raise EOFError("the connection ended")
        done += num
    return buffer
