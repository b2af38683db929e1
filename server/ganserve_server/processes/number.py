"""Choose the number of server processes."""

from __future__ import annotations

from ganserve_server.settings import ServerConfig


def choose_processes(config: ServerConfig) -> tuple[int, str]:
    """Return the number of processes, and why, for the report of the start."""
    if config.processes != "auto":
        return config.processes, ""
    return 1, ""
