"""A proxy that makes tunnels on loopback, and remembers who asked for them."""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import suppress


class TunnelProxy:
    """Answer CONNECT: a tunnel for those who log in as is asked for, 407 for others."""

    def __init__(self, login: str | None = None) -> None:
        self.asked: list[str] = []
        self._wanted = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for one in self._open:
            # Whoever reads from it in another thread is woken.
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            received = client.recv(65536)
            if not received:
                return
            head += received
        lines = head.decode("latin-1").split("\r\n")
        self.asked.append(lines[0])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if self._wanted and headers.get("proxy-authorization") != self._wanted:
            client.sendall(b"HTTP/1.1 407 Log in\r\ncontent-length: 0\r\n\r\n")
            client.close()
            return
        port = int(lines[0].split(" ")[1].rpartition(":")[2])
        target = socket.create_connection(("127.0.0.1", port))
        self._open.append(target)
        client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        threading.Thread(target=_pump, args=(target, client), daemon=True).start()
        _pump(client, target)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
