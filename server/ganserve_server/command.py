"""The command `ganserve serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from ganserve_server.config import ServerConfig
from ganserve_server.core.batcher import BatchConfig
from ganserve_server.core.engine import EngineConfig
from ganserve_server.core.errors import GanserveServerError, RequestError, StartupError
from ganserve_server.core.gan import Gan
from ganserve_server.core.providers import Provider, choose_buckets, choose_parallelism, choose_provider
from ganserve_server.core.repository import Repository
from ganserve_server.core.requests import Limits
from ganserve_server.grpc.server import MAX_PAYLOAD_BYTES, GrpcServer
from ganserve_server.report import startup_report

if TYPE_CHECKING:
    from collections.abc import Sequence

_OK, _FAILED, _REFUSED, _INTERRUPTED = 0, 1, 2, 130
_log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Runs `ganserve serve` and returns its exit code: 0 stopped, 1 failed or cut calls off, 2 refused to start."""
    config = tyro.cli(ServerConfig, args=list(argv), prog="ganserve serve", description=_DESCRIPTION)
    logging.basicConfig(level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return _run(config)
    except StartupError as error:
        return _refuse(str(error))
    except GanserveServerError as error:
        sys.stderr.write(f"ganserve serve: error: {error}\n")
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED


_DESCRIPTION = "Serves the GAN model packages of a folder over gRPC, until SIGTERM or Ctrl-C."


def _refuse(reason: str) -> int:
    sys.stderr.write(f"ganserve serve: error: {reason}\n")
    return _REFUSED


def _run(config: ServerConfig) -> int:
    try:
        import uvloop
    except ImportError:  # no wheels for Windows
        return asyncio.run(serve(config))
    return uvloop.run(serve(config))


async def serve(config: ServerConfig) -> int:
    """Serves until SIGTERM or SIGINT and returns the exit code.

    Raises:
        StartupError: It cannot start as it was asked to.
    """
    server = GrpcServer()
    port = server.bind(config.address)
    # SIGTERM while models load ends the process at once, as it does by default.
    repository, report = await asyncio.to_thread(_load, config)
    stop = _stop_signal()
    limits = Limits(max_response_bytes=MAX_PAYLOAD_BYTES)
    await server.start(Gan(repository, limits))
    if config.poll_s:
        repository.watch(config.poll_s)
    _say(f"{report}serving on {config.bracketed_host}:{port}\n")
    await stop.wait()
    _log.info("stopping: new calls are turned away, those that run may take %g s", config.drain_timeout_s)
    cut_off = await server.drain(config.drain_timeout_s)
    await asyncio.to_thread(repository.close)
    return _FAILED if cut_off else _OK


def _load(config: ServerConfig) -> tuple[Repository, str]:
    """Returns the repository, loaded, and what it has in words."""
    if not config.models.is_dir():
        raise StartupError(
            f"--models {config.models}: there is no such folder; "
            f"write one with `ganserve export-onnx RUN --out {config.models}/NAME`"
        )
    choice = choose_provider(Provider(config.provider))
    sessions = len(config.devices) * config.instances
    workers, threads = choose_parallelism(choice.name, config.workers, config.threads, sessions)
    engine = EngineConfig(
        provider=choice.name,
        threads=threads,
        spinning=config.spinning,
        devices=config.devices,
        instances=config.instances,
        buckets=choose_buckets(choice.name, config.batch_buckets, config.max_batch_size),
        cuda_graphs=config.cuda_graphs,
        conv_search=config.conv_search,
        tf32=config.tf32,
        gpu_memory_limit_mib=config.gpu_memory_limit_mib,
    )
    batch = BatchConfig(
        max_batch_size=config.max_batch_size,
        max_queued_samples=config.max_queued_samples,
        workers=workers,
        queue_delay_s=config.queue_delay_ms / 1e3,
    )
    repository = Repository(
        config.models, engine, batch, newest=config.newest_versions, drain_timeout_s=config.drain_timeout_s
    )
    try:
        repository.load()
    except RequestError as error:
        raise StartupError(str(error)) from error
    report = startup_report(repository, choice, engine, batch)
    if not any(summary.latest for summary in repository.summaries()):
        raise StartupError(_nothing_to_serve(config.models, report))
    return repository, report


def _nothing_to_serve(models: Path, report: str) -> str:
    if any(models.glob("*/manifest.json")):
        return f"--models {models} is one model's folder: give the folder above it, --models {models.parent}"
    write = f"write a package with `ganserve export-onnx RUN --out {models}/NAME`"
    found = [line for line in report.splitlines() if line.startswith(("FAILED", "ignored"))]
    return "\n".join([f"there is nothing to serve in {models}: {write}", *found])


def _stop_signal() -> asyncio.Event:
    """Returns an event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    stop = asyncio.Event()

    def handle() -> None:
        if stop.is_set():
            # Threads inside onnxruntime cannot be interrupted, and the normal way out would wait for them.
            os._exit(_FAILED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, handle)
    return stop


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
