"""Serve by several processes: reserve the ports, open the HTTP port, and run the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector

from ganserve_server.exposure import check_exposure
from ganserve_server.monitoring.http_endpoint import MonitoringEndpoint
from ganserve_server.monitoring.logs import announcer
from ganserve_server.processes.metrics import ServiceCollector
from ganserve_server.processes.ports import ReservedPort
from ganserve_server.processes.supervisor import Supervisor
from ganserve_server.processes.weights_folder import weights_folder
from ganserve_server.protection import Protection
from ganserve_server.settings import MOVABLE, Configuration, ServerConfig, bracketed

_SNAPSHOT_EVERY_S = 1.0
_log = logging.getLogger(__name__)


async def serve(configuration: Configuration, processes: int, why: str = "") -> int:
    """Serve by several processes until a signal, and return the exit code; `why` says why so many.

    Raises StartupError if they cannot start with this configuration.
    """
    config = configuration.config
    check_exposure(config)
    with contextlib.ExitStack() as stack:
        config = _with_ports(config, stack)
        folder = stack.enter_context(weights_folder())
        supervisor = Supervisor(config.without_http(), processes, folder)
        say = announcer(config.log_format, _log)
        protection = Protection(config)
        async with _monitored(config, supervisor, protection, say):
            say(configuration.report())
            where = f"{config.bracketed_host}:{config.port}"

            def started(report: str) -> None:
                say(f"{report}processes {processes}{why}\nserving on {where}\n")

            return await supervisor.run(started)


def _with_ports(config: ServerConfig, ports: contextlib.ExitStack) -> ServerConfig:
    """Reserve the ports until the stack ends, and return the settings with their numbers."""

    def reserved(host: str, port: int, flag: str) -> int:
        held = ReservedPort(host, port, flag=flag)
        ports.callback(held.close)
        return held.number

    changes: dict[str, Any] = {"port": reserved(config.host, config.port, "--port")}
    addresses: dict[str, str] = {}
    for part in MOVABLE:
        address: str = getattr(config, part)
        if address in ("on", "off"):
            continue
        if address not in addresses:
            host, _, port = address.rpartition(":")
            addresses[address] = f"{host}:{reserved(host, int(port), f'--{part}'.replace('_', '-'))}"
        changes[part] = addresses[address]
    return replace(config, **changes)


@contextlib.asynccontextmanager
async def _monitored(
    config: ServerConfig, supervisor: Supervisor, protection: Protection, say: Callable[[str], None]
) -> AsyncIterator[None]:
    """Answer /metrics, /healthz and /readyz for all processes until the block ends, if a port is configured."""
    if config.metrics_port is None:
        yield
        return
    fleet = supervisor.fleet
    collector = ServiceCollector(fleet.snapshots, fleet.counts, lambda: fleet.replaced, protection.metrics)
    registry = CollectorRegistry()
    registry.register(collector)
    PlatformCollector(registry=registry)
    endpoint = MonitoringEndpoint(
        config.http_host,
        config.metrics_port,
        registry,
        fleet.not_ready_because,
        fleet.providers,
        protection.tls,
        protection.http,
        fleet.are_alive,
    )
    scheme = "http" if protection.tls is None else "https"
    say(f"metrics  {scheme}://{bracketed(config.http_host)}:{endpoint.port}/metrics, probes /healthz and /readyz\n")
    tasks = [asyncio.create_task(protection.watch()), asyncio.create_task(_take_snapshots(supervisor))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(endpoint.close)


async def _take_snapshots(supervisor: Supervisor) -> None:
    """Take snapshots of the counts regularly, so that a killed process loses few of them."""
    while True:
        await asyncio.sleep(_SNAPSHOT_EVERY_S)
        await asyncio.to_thread(supervisor.fleet.snapshots)
