"""A gate on the way to a server: it may be open, closed (nobody listens) or mute (it takes calls and says nothing)."""

import contextlib
import socket
import threading
from types import TracebackType


class Gate:
    """Passes what comes to ``port`` on to another port, as long as it is open."""

    def __init__(self, beyond: tuple[str, int]) -> None:
        self._beyond = beyond
        self._passing = threading.Event()
        self._calls: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._passing.set()
        self._listen()

    def __enter__(self) -> "Gate":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up, and listen no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for call in self._calls:
            with contextlib.suppress(OSError):
                call.shutdown(socket.SHUT_RDWR)
            call.close()
        self._calls.clear()

    def mute(self) -> None:
        """Go on taking calls, and pass nothing on."""
        self._passing.clear()

    def open(self) -> None:
        """Pass everything on again, whatever was before."""
        self.close()
        self._passing.set()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listen()

    def _listen(self) -> None:
        threading.Thread(target=self._take_calls, args=(self._listener,), daemon=True).start()

    def _take_calls(self, listener: socket.socket) -> None:
        while True:
            try:
                call, _ = listener.accept()
            except OSError:
                return
            try:
                onward = socket.create_connection(self._beyond)
            except OSError:
                call.close()
                continue
            self._calls += [call, onward]
            for one, other in ((call, onward), (onward, call)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                self._passing.wait()
                other.sendall(data)
        self._passing.wait()
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
