"""A stand-in for a SOCKS5 proxy (RFC 1928): no authentication, CONNECT by name, and one place behind it all.

Whatever a client asks for, it is connected with `behind`; what it asked for is in `asked`.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator


class Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, behind: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.asked = behind, []  # type: tuple[str, int], list[tuple[str, int]]

    @property
    def url(self) -> str:
        return f"socks5://127.0.0.1:{self.server_address[1]}"


class _Handler(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        _, methods = self.rfile.read(2)
        self.rfile.read(methods)
        self.wfile.write(b"\x05\x00")
        _, command, _, kind = self.rfile.read(4)
        assert (command, kind) == (1, 3), "only CONNECT, by name"
        name = self.rfile.read(self.rfile.read(1)[0]).decode()
        self.server.asked.append((name, struct.unpack(">H", self.rfile.read(2))[0]))
        with socket.create_connection(self.server.behind) as there:
            self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
            threading.Thread(target=_copy, args=(there, self.connection), daemon=True).start()
            _copy(self.connection, there)


def _copy(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxy(behind: tuple[str, int]) -> Iterator[Proxy]:
    with Proxy(behind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
