"""Runs a server from its configuration until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from ganserve_server.core.batcher import INLINE_BELOW_S, BatchConfig
from ganserve_server.core.engine import EngineConfig
from ganserve_server.core.errors import RequestError, StartupError
from ganserve_server.core.gan import Gan
from ganserve_server.core.providers import CPU, Provider, choose_buckets, choose_parallelism, choose_provider
from ganserve_server.core.repository import Repository
from ganserve_server.core.requests import Limits
from ganserve_server.grpc.server import MAX_PAYLOAD_BYTES, GrpcServer
from ganserve_server.report import startup_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ganserve_server.config import ServerConfig
    from ganserve_server.configuration import Configuration
    from ganserve_server.monitoring.metrics import ServerCollector

_OK, _CUT_OFF = 0, 1
_CLOSE_S = 2.0  # for the model calls that still run when all calls are answered or cut off
_log = logging.getLogger(__name__)


async def serve(configuration: Configuration) -> int:
    """Serves until SIGTERM or SIGINT and returns the exit code: 0, or 1 if calls were cut off.

    Raises:
        StartupError: It cannot start as it was asked to.
    """
    config = configuration.config
    say = _log_lines if config.log_format == "json" else _print
    server = GrpcServer(config.access_log)
    port = server.bind(config.address)
    with _monitored(config, server, say) as collector:
        say(configuration.report())
        # SIGTERM while models load ends the process at once, as it does by default.
        repository, report = await asyncio.to_thread(_load, config)
        stop = _stop_signal()
        if collector is not None:
            collector.follow(repository)
        limits = Limits(max_response_bytes=MAX_PAYLOAD_BYTES)
        await server.start(Gan(repository, limits))
        if config.poll_s:
            repository.watch(config.poll_s)
        say(f"{report}serving on {config.bracketed_host}:{port}\n")
        await stop.wait()
        _log.info("stopping: new calls are turned away, those that run may take %g s", config.drain_timeout_s)
        cut_off = await server.drain(config.drain_timeout_s)
        try:
            await asyncio.wait_for(asyncio.to_thread(repository.close), _CLOSE_S)
        except TimeoutError:
            _log.warning("a model call runs on after %g s; the process ends without it", _CLOSE_S)
            _end_now()
        if cut_off:  # whatever they left running on other threads
            _end_now()
    return _OK


@contextlib.contextmanager
def _monitored(
    config: ServerConfig, server: GrpcServer, say: Callable[[str], None]
) -> Iterator[ServerCollector | None]:
    """Answers /metrics, /healthz and /readyz until the block ends, if a port is configured for them."""
    if config.metrics_port is None:
        yield None
        return
    from ganserve_server.monitoring.endpoint import MonitoringEndpoint
    from ganserve_server.monitoring.metrics import ServerCollector, make_registry

    collector = ServerCollector(server.calls, lambda: not server.not_ready_because)
    endpoint = MonitoringEndpoint(
        config.host, config.metrics_port, make_registry(collector), lambda: server.not_ready_because
    )
    say(f"metrics  http://{config.bracketed_host}:{endpoint.port}/metrics, probes /healthz and /readyz\n")
    try:
        yield collector
    finally:
        endpoint.close()


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
        inline_below_s=INLINE_BELOW_S if choice.name == CPU else 0.0,
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
            _end_now()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, handle)
    return stop


def _end_now() -> None:
    """Ends the process: threads inside onnxruntime cannot be interrupted, and the normal way out waits for them."""
    logging.shutdown()
    os._exit(_CUT_OFF)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _log_lines(text: str) -> None:
    for line in text.splitlines():
        _log.info("%s", line)
