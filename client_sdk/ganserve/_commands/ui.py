"""The command `ganserve ui`: serve a page for browsers: samples, walks, scores, model facts."""

import errno
import ipaddress
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ganserve import Client, InvalidRequest
from ganserve._command_framework.options import flag
from ganserve._command_framework.process import DONE
from ganserve._commands.marking import MarkingArguments
from ganserve._commands.page_protection import PageProtection
from ganserve._commands.shared import ServerArguments, command, say

_EXAMPLES = (
    "ganserve ui                            # for the server at GANSERVE_TARGET, else localhost:50051",
    "ganserve ui --target gpu-box:50051",
    "ganserve ui --models models            # no server: the models run in this process",
)

# Their pauses add up to more than gRPC waits before it reconnects.
_ATTEMPTS = 7
_PORTS = range(7860, 7960)
_HIGHEST_PORT = 65535
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True, kw_only=True)
class UiArguments(ServerArguments, MarkingArguments):
    """Serve a page for browsers: samples, walks between them, scores of pictures, facts about models."""

    models: Path | None = flag(None, metavar="DIR")
    """Run the models of this folder in this process, without a server (needs the extra `server`)."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 or :: lets other machines in, which needs a password and encryption, or
    --insecure."""
    port: int | None = None
    """Port of the page. Without it, the first free one from 7860 on."""
    password_file: Path | None = flag(None, metavar="FILE")
    """File with the password that browsers ask for; the user's name is free. A proxy may send it as a bearer token.
    Without it, the environment variable GANSERVE_UI_PASSWORD, else the page is open."""
    page_certificate: Path | None = flag(None, metavar="FILE")
    """PEM file with the page's certificate, which encrypts it (https)."""
    page_key: Path | None = flag(None, metavar="FILE")
    """PEM file with the private key of --page-certificate."""
    insecure: bool = flag(False, opposite=False)
    """Let other machines in without a password or without encryption."""
    root_path: str | None = flag(None, metavar="/PATH")
    """Path at which a proxy publishes the page, such as /gan. The proxy removes it from requests."""


def _ui(arguments: UiArguments) -> int:
    if arguments.models is not None and arguments.target is not None:
        raise InvalidRequest.of("--models", "cannot go with --target: leave one of them out")
    if arguments.port is not None and not 0 <= arguments.port <= _HIGHEST_PORT:
        raise InvalidRequest.of("--port", f"is {arguments.port}; expected a number up to {_HIGHEST_PORT}")
    root_path = (arguments.root_path or "").rstrip("/")
    if root_path and not re.fullmatch(r"(/[\w.~-]+)+", root_path):
        raise InvalidRequest.of("--root-path", f"is {root_path!r}; expected a path, such as /gan")
    protection = PageProtection.of(
        arguments.password_file, arguments.page_certificate, arguments.page_key, insecure=arguments.insecure
    )
    mark = arguments.marking
    with _listener(arguments.host, arguments.port) as listener:
        protection.check(arguments.host, listener)
        with _no_proxies():
            from ganserve._ui.serving import serving  # Slow to import: only after the checks.

        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        client = (
            Client(arguments.target, max_attempts=_ATTEMPTS, **arguments.connection)
            if arguments.models is None
            else Client.local(arguments.models)
        )
        with client, serving(client, listener, root_path, protection, mark):
            say(f"the page of {client.target} is at {_url(listener, protection.scheme)}")
            sys.stdout.flush()
            while not stop.wait(1):  # A signal handler runs only between waits.
                pass
    return DONE


@contextmanager
def _no_proxies() -> Iterator[None]:
    """Hide proxies while Gradio is imported: it makes HTTP clients that we never use, and fails for SOCKS proxies."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.lower() in _PROXIES}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _listener(host: str, port: int | None) -> socket.socket:
    """Return a bound socket; without a port, on the first free one."""
    expected = "expected an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), 0, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except UnicodeError as error:  # such as a label of more than 63 characters
        raise InvalidRequest.of("--host", f"is {host!r}; {expected}") from error
    except OSError as error:
        raise InvalidRequest.of("--host", f"is {host!r}, and {error.strerror}; {expected}") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for each in _PORTS if port is None else (port,):
        try:
            listener.bind((address[0], each, *address[2:]))
            listener.listen()
            return listener
        except OSError as error:
            failure = error
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                break
    listener.close()
    if failure.errno not in (errno.EADDRINUSE, errno.EACCES):
        raise InvalidRequest.of("--host", f"is {host!r}, and {failure.strerror}; {expected}") from failure
    if port is None:
        taken = f"{_PORTS[0]} to {_PORTS[-1]}"
        raise InvalidRequest.of("--port", f"is missing, and {taken} are taken; expected a free one") from failure
    raise InvalidRequest.of("--port", f"is {port}; is not free: {failure.strerror}. Give another") from failure


def _url(listener: socket.socket, scheme: str) -> str:
    """Return the page's address for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:  # 0.0.0.0 and ::, which listen everywhere
        host = "localhost"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


COMMAND = command("ui", UiArguments, _ui, _EXAMPLES)
main = COMMAND.main
