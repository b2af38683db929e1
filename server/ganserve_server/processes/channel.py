"""Connect the supervisor with a worker process: both ask and answer over a pair of sockets.

The messages are pickles, because only these two processes have the sockets.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

_LENGTH = struct.Struct("!Q")


class ChannelClosedError(Exception):
    """The other process has ended, or closed the channel."""


def send_first(connection: socket.socket, message: object) -> None:
    """Send what the other process needs before it can make its end of the channel."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_first(connection: socket.socket) -> Any:
    """Return what `send_first` has sent; raise ChannelClosedError if the other process has ended."""
    head = connection.recv(_LENGTH.size, socket.MSG_WAITALL)
    if len(head) < _LENGTH.size:
        raise ChannelClosedError
    return pickle.loads(connection.recv(_LENGTH.unpack(head)[0], socket.MSG_WAITALL))  # noqa: S301 - of our own process


class Channel:
    """One end. Any thread may ask."""

    def __init__(
        self,
        connection: socket.socket,
        answers: dict[str, Callable[..., Any]],
        ended: Callable[[], None],
    ) -> None:
        """Begin to answer the questions of the other end.

        Args:
            connection: The socket.
            answers: The function that answers each kind of question, called on a thread of its own.
            ended: Called on a thread once the other end is closed.
        """
        self._socket = connection
        self._answers = answers
        self._ended = ended
        self._numbers = itertools.count()
        self._open: dict[int, Future[Any]] = {}
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._read, name="channel", daemon=True).start()

    def ask(self, kind: str, *arguments: object) -> Future[Any]:
        """Send a question; the result is the other end's answer or error, or ChannelClosedError."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            if self._closed:
                future.set_exception(ChannelClosedError())
                return future
            self._open[number] = future
        try:
            self._send(("question", number, (kind, arguments)))
        except OSError:
            self._end()
        return future

    def close(self) -> None:
        """Close this end, which the other one notices."""
        with contextlib.suppress(OSError):  # the other end is gone
            self._socket.shutdown(socket.SHUT_RDWR)

    def _send(self, message: tuple[str, int, Any]) -> None:
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        with self._sending:
            self._socket.sendall(_LENGTH.pack(len(data)) + data)

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as stream:
                while len(head := stream.read(_LENGTH.size)) == _LENGTH.size:
                    size = _LENGTH.unpack(head)[0]
                    if len(data := stream.read(size)) < size:
                        break
                    self._take(pickle.loads(data))  # noqa: S301 - of our own process
        except OSError:
            pass  # as an end
        self._end()
        self._ended()

    def _take(self, message: tuple[str, int, Any]) -> None:
        kind, number, content = message
        if kind == "question":
            # An answer may wait for another question's.
            threading.Thread(target=self._answer, args=(number, *content), name="answer", daemon=True).start()
            return
        with self._lock:
            future = self._open.pop(number, None)
        if future is not None and kind == "answer":
            future.set_result(content)
        elif future is not None:
            future.set_exception(content)

    def _answer(self, number: int, kind: str, arguments: tuple[Any, ...]) -> None:
        reply: tuple[str, int, Any]
        try:
            reply = "answer", number, self._answers[kind](*arguments)
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            reply = "error", number, error
        with contextlib.suppress(OSError):  # nobody waits any more
            self._send(reply)

    def _end(self) -> None:
        with self._lock:
            self._closed = True
            waiting, self._open = list(self._open.values()), {}
        for future in waiting:
            future.set_exception(ChannelClosedError())
