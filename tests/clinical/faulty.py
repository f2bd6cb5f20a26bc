"""Between the PACS command and a PACS: servers that pass on what they are sent, save for the faults of a test."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import requests


@dataclass
class Answer:
    """What is sent in place of the PACS's answer."""

    status: int = 200
    kind: str = "application/dicom+json"
    body: bytes = b""
    lost: int = 0
    """So many of the last bytes are promised and not sent."""


@dataclass
class Faults:
    """What goes wrong: ``decide`` takes the number of a request or connection and what it asks for.

    It returns None to pass it on, "drop" to close the connection, an `Answer`, or what makes one of the PACS's own.
    """

    decide: Callable[[int, str], object] = lambda number, what: None
    seen: list[str] = field(default_factory=list)

    def next(self, what: str) -> object:
        self.seen.append(what)
        return self.decide(len(self.seen) - 1, what)


@contextmanager
def http_between(upstream: str, faults: Faults, *, certificate: Path | None = None) -> Iterator[str]:
    """The address of a server that passes requests on to another; each has a connection of its own.

    ``certificate``: PEM file with a certificate and its key, for HTTPS.
    """

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            what = faults.next(f"{self.command} {self.path}")
            if what == "drop":
                return
            if not isinstance(what, Answer):
                headers = {key: value for key, value in self.headers.items() if key != "Host"}
                got = requests.request(self.command, upstream + self.path, data=sent, headers=headers, timeout=20)
                passed = Answer(got.status_code, got.headers.get("Content-Type", ""), got.content)
                what = what(passed) if callable(what) else passed
            self.send_response(what.status)
            self.send_header("Content-Type", what.kind)
            self.send_header("Content-Length", str(len(what.body)))
            self.end_headers()
            self.wfile.write(what.body[: len(what.body) - what.lost])

        do_GET = do_POST = _serve  # noqa: N815 - the library's names

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with _in_a_thread(server.serve_forever, server.shutdown):
        yield f"http{'s' if certificate else ''}://localhost:{server.server_port}"
    server.server_close()


@contextmanager
def tcp_between(port: int, faults: Faults) -> Iterator[int]:
    """The port of a server that passes connections on to another; a fault is the number of bytes it lets come back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = listener.accept()
                allowed = faults.next("")
                server = socket.create_connection(("127.0.0.1", port))
                Thread(target=_pump, args=(client, server, None), daemon=True).start()
                Thread(target=_pump, args=(server, client, allowed), daemon=True).start()

    def stop() -> None:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()

    with _in_a_thread(serve, stop):
        yield listener.getsockname()[1]


def _pump(source: socket.socket, sink: socket.socket, allowed: object) -> None:
    left = allowed if isinstance(allowed, int) else 2**62
    with suppress(OSError):
        while left > 0 and (data := source.recv(min(65536, left))):
            sink.sendall(data)
            left -= len(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def _in_a_thread(serve: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    thread = Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(10)
