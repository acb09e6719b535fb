"""A network between a client and a server that does to their bytes what a test wants."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self


class Proxy:
    """Listens on `port`, and passes everything on to the server's.

    `rewrite` changes what the server says; `swallows` has it say nothing any more, while the
    connections stay, and `no_reply_to` does so on a connection from when the client says that.
    """

    def __init__(
        self, server_port: int, rewrite: Callable[[bytes], bytes] = lambda data: data
    ) -> None:
        self._server_port = server_port
        self._rewrite = rewrite
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self.swallows = False
        self.refuses = False
        self.no_reply_to: bytes | None = None
        self.muted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection that there is."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def losing_the_reply(
        self, to: bytes, once: Callable[[], bool] = lambda: True
    ) -> Iterator[None]:
        """Break every connection after a statement was sent, and once something is so."""

        def break_it() -> None:
            while not (self.muted and once()):
                time.sleep(0.005)
            self.no_reply_to = None
            self.cut()

        self.no_reply_to = to
        thread = threading.Thread(target=break_it, daemon=True)
        thread.start()
        yield
        thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                # With a reset, as from a host where nobody listens.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._sockets += [client, server]
            muted = threading.Event()
            for source, sink, is_server in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._pump, args=(source, sink, is_server, muted), daemon=True
                ).start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, is_server: bool, muted: threading.Event
    ) -> None:
        with source, contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_server and (self.swallows or muted.is_set()):
                    continue
                if not is_server and self.no_reply_to is not None and self.no_reply_to in data:
                    muted.set()
                    self.muted += 1
                sink.sendall(self._rewrite(data) if is_server else data)
            sink.shutdown(socket.SHUT_RDWR)
