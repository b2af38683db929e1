"""The command `ganserve ui`: serve a page for browsers: samples, walks, scores, model facts."""

import errno
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from ganserve import Client, InvalidRequest
from ganserve._cli.shared import ServerArguments, command, say
from ganserve._command_line.command import DONE
from ganserve._command_line.options import flag

_EXAMPLES = (
    "ganserve ui                            # for the server at GANSERVE_TARGET, else localhost:50051",
    "ganserve ui --target gpu-box:50051",
    "ganserve ui --models models            # no server: the models run in this process",
)

# Their pauses add up to more than gRPC waits before it reconnects.
_ATTEMPTS = 7
_HIGHEST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class UiArguments(ServerArguments):
    """Serve a page for browsers: samples, walks between them, scores of pictures, facts about models."""

    models: Path | None = flag(None, metavar="DIR")
    """Run the models of this folder in this process, without a server (needs the extra `server`)."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int | None = None
    """Port of the page. Without it, the first free one from 7860 on."""


def _ui(arguments: UiArguments) -> int:
    if arguments.models is not None and arguments.target is not None:
        raise InvalidRequest.of("--models", "cannot go with --target: leave one of them out")
    if arguments.port is not None and not 0 <= arguments.port <= _HIGHEST_PORT:
        raise InvalidRequest.of("--port", f"is {arguments.port}; expected a number up to {_HIGHEST_PORT}")
    _check_address(arguments.host, arguments.port)
    from ganserve._ui.serving import serving  # Slow to import: only after the checks.

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    client = (
        Client(arguments.target, max_attempts=_ATTEMPTS) if arguments.models is None else Client.local(arguments.models)
    )
    with client, serving(client, arguments.host, arguments.port) as url:
        say(f"the page of {client.target} is at {url}")
        sys.stdout.flush()
        while not stop.wait(1):  # A signal handler runs only between waits.
            pass
    return DONE


def _check_address(host: str, port: int | None) -> None:
    """Refuse an address that this machine cannot listen on; Gradio's error names only the port."""
    expected = "expected an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except UnicodeError as error:  # such as a label of more than 63 characters
        raise InvalidRequest.of("--host", f"is {host!r}; {expected}") from error
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise InvalidRequest.of("--port", f"is {port}; is not free: {error.strerror}. Give another") from error
        raise InvalidRequest.of("--host", f"is {host!r}, and {error.strerror}; {expected}") from error


COMMAND = command("ui", UiArguments, _ui, _EXAMPLES)
main = COMMAND.main
