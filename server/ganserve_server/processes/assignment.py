"""Describe what one server process of several is to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganserve_server.settings import ServerConfig


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The task of a worker."""

    config: ServerConfig
    """Its share of the settings, with the numbers of the ports."""
    index: int
    """Its place among the processes, from 0."""
    processes: int
    """How many processes there are."""
    usage_descriptor: int
    """File in which the quotas are counted; see `identity.shared_usage`."""
    shared_weights: Path | None
    """Folder of weights that the processes share."""
    memory_bytes: int
    """Most memory of a trial."""
