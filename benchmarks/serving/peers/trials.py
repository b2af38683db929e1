"""Start a server with one graph, measure it at rest, check its answers, load it, and end it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import process_tree
from catalogue import PEERS
from environments import FOLDER, UnfitError, environment, last_line
from packages import SHAPES
from protocols import PROTOCOLS
from servers.generator import Generator, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from catalogue import Peer

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
OWN_START_S = 60.0
_WARM_UP_S = 0.5
_CLIENT_S = 90.0
_ATTEMPT_S = 20.0
_REST_S = 1.0


class FailedError(Exception):
    """A server did not start, did not answer, or answered something else; the text says what."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that can be measured."""

    title: str
    protocol: str
    command: Callable[[Path, int], list[str]]
    """Makes the command from the folder of a package and a port."""
    variables: tuple[tuple[str, str], ...] = ()
    start_s: float = OWN_START_S
    numpy_latents: bool = True
    """Its latents are those of `generator.py`, so that its samples are known."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Where and how long servers are measured."""

    server_cores: Sequence[int]
    client_cores: Sequence[int]
    seconds: float
    """Length of a load."""


def ganserve(flags: str) -> Server:
    """Return our server with flags of `ganserve serve`."""

    def command(package: Path, port: int) -> list[str]:
        where = ["--models", str(package.parents[1]), "--host", "127.0.0.1", "--port", str(port), "--provider", "cpu"]
        return [sys.executable, "-m", "ganserve", "serve", *where, *flags.split()]

    return Server(title=f"ganserve {flags}".strip(), protocol="ganserve", command=command, numpy_latents=False)


def sketch() -> Server:
    """Return the sketch of a server, for comparison."""
    script = str(HERE.parent / "sketch.py")
    return Server(
        title="sketch",
        protocol="ganserve",
        command=lambda package, port: [sys.executable, script, str(package / "generator.onnx"), str(port)],
    )


def peer_server(peer: Peer) -> Server:
    """Return a peer's server; raise UnfitError if its environment is not ready."""
    python = environment(peer)
    return Server(
        title=peer.title,
        protocol=peer.protocol,
        command=lambda package, port: [
            str(python),
            str(peer.script),
            str(package / "generator.onnx"),
            str(port),
            *peer.options,
        ],
        variables=peer.variables,
        start_s=peer.start_s,
    )


def trial(server: Server, package: Path, loads: Sequence[tuple[int, int]], conditions: Conditions) -> dict[str, Any]:
    """Return the figures of one start of a server with one package; raise FailedError.

    Loads are pairs of samples a request and requests in flight.
    """
    model = package.parent.name
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    log = FOLDER / "logs" / f"{re.sub('[^a-z0-9.]+', '-', server.title.lower()).strip('-')}-{model}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="peer"))  # short: Ray's sockets have a path below it
    try:
        began = time.perf_counter()
        with process_tree.running(
            server.command(package, port), folder, log, _variables(server, folder), conditions.server_cores
        ) as process:
            try:
                _first_answer(server, address, model, lambda: process.poll() is None)
                figures: dict[str, Any] = {"start_s": time.perf_counter() - began}
                time.sleep(_REST_S)
                figures["memory_mib"], figures["processes"] = process_tree.memory_mib()
                figures["idle_cores"] = _idle_cores()
                _check(server, address, package)
                figures["loads"] = {
                    f"{n}x{concurrency}": _loaded(server, address, model, n, concurrency, conditions)
                    for n, concurrency in loads
                }
            except FailedError as failed:
                code = process.poll()
                ended = "" if code is None else f" (it ended with exit code {code})"
                raise FailedError(f"{model}: {failed}{ended}. Its log, {log}, ends with: {last_line(log)}") from failed
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def _variables(server: Server, folder: Path) -> dict[str, str]:
    """Return the environment of a server: this one, but what it writes at home goes to its own folder."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    own = {name: str(folder) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    if server.protocol == "ganserve":
        own["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in ("client_sdk", "server"))
    return {**kept, **own, **dict(server.variables)}


def _first_answer(server: Server, address: str, model: str, lives: Callable[[], bool]) -> None:
    """Wait until a server answers."""
    deadline = time.perf_counter() + server.start_s
    host, port = address.split(":")
    refused = "it does not listen"
    while time.perf_counter() < deadline:
        if not lives():
            raise FailedError("no answer")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            _samples(server, address, model, 1, 0, 0)
        except Exception as error:  # noqa: BLE001 - whatever a server says while it starts
            refused = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            time.sleep(0.01)
        else:
            return
    raise FailedError(f"no answer within {server.start_s:.0f} s: {refused}")


def _samples(server: Server, address: str, model: str, n: int, label: int, seed: int) -> np.ndarray[Any, Any]:
    """Return the bytes of one request's samples, uint8 [n, values of a sample]."""

    async def ask() -> Any:
        async with PROTOCOLS[server.protocol](address, model, n, 1, label) as (call,):
            return await call(seed)

    answer = asyncio.run(asyncio.wait_for(ask(), _ATTEMPT_S))
    if answer.shape[0] != n:
        raise FailedError(f"it answered {answer.shape[0]} samples in place of {n}")
    return np.frombuffer(answer.data, np.uint8).reshape(n, -1)


def _check(server: Server, address: str, package: Path) -> None:
    """Raise FailedError unless a server gives a request's samples: n of them, by label and seed."""
    model = package.parent.name
    shape = SHAPES[model]
    values = shape.size**2 * shape.image_channels
    expected = Generator(str(package / "generator.onnx")) if server.numpy_latents else None
    for n, label, seed in ((3, 4, 5), (64, 1, 6)):
        try:
            drawn, again, other = (_samples(server, address, model, n, label, one) for one in (seed, seed, seed + 1))
        except Exception as error:
            raise FailedError(f"n={n}: {error}") from error
        if drawn.shape[1] != values:
            raise FailedError(f"n={n}: a sample has {drawn.shape[1]} values in place of {values}")
        if not _equal(drawn, again) or _equal(drawn, other):
            raise FailedError(f"n={n}: its samples do not follow the seed")
        if expected and not _equal(drawn, expected.samples([(n, label, seed)])[0].reshape(n, -1)):
            raise FailedError(f"n={n}: its samples are not those of label {label} and seed {seed}")


def _equal(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Return whether values are at most one level apart: sums of other batches round differently."""
    return bool(np.abs(one.astype(np.int16) - other).max() <= 1)


def _idle_cores() -> float:
    """Return how many cores the server keeps busy without requests."""
    began, before = time.perf_counter(), process_tree.cpu_seconds()
    time.sleep(_REST_S)
    return (process_tree.cpu_seconds() - before) / (time.perf_counter() - began)


def _loaded(
    server: Server, address: str, model: str, n: int, concurrency: int, conditions: Conditions
) -> dict[str, float]:
    """Return the figures of a load, after a short one that warms up."""
    script = str(HERE / "peer_client.py")
    measured: dict[str, float] = {}
    for seconds in (min(_WARM_UP_S, conditions.seconds), conditions.seconds):
        command = [sys.executable, script, server.protocol, address, model, str(n), str(concurrency), str(seconds)]
        before = process_tree.cpu_seconds()
        try:
            with process_tree.affinity(conditions.client_cores):
                done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _CLIENT_S, check=False)
        except subprocess.TimeoutExpired:
            raise FailedError(f"n={n} C={concurrency}: its client hung") from None
        if done.returncode:
            raise FailedError(
                f"n={n} C={concurrency}: its client failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
            )
        measured = json.loads(done.stdout)
        measured["server_cpu_ms"] = (process_tree.cpu_seconds() - before) * 1e3 / measured["requests"]
    measured["client_cpu_ms"] = measured["cpu_s"] * 1e3 / measured["requests"]
    measured["per_s"] = measured["requests"] / measured["seconds"]
    return measured


def chosen(names: Sequence[str], serve_flags: Sequence[str]) -> tuple[list[Server], dict[str, str]]:
    """Return the servers of these names, and why others cannot be measured, by title."""
    servers: list[Server] = []
    unfit: dict[str, str] = {}
    if "ganserve" in names:
        servers += [ganserve(flags) for flags in serve_flags]
    if "sketch" in names:
        servers.append(sketch())
    for peer in PEERS:
        if peer.name in names:
            try:
                servers.append(peer_server(peer))
            except UnfitError as reason:
                unfit[peer.title] = f"not measured: {reason}"
    return servers, unfit
