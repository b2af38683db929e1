"""A Ray cluster of two nodes in processes of this machine, which talk over 127.0.0.1 and report nothing."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the extra ray is not installed")
_TRIES = 5
_OBJECTS_BYTES = 80 * 2**20
ENVIRONMENT = {
    # Ray takes the machine's address on the network in place of 127.0.0.1, unless it believes to be on a laptop.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A busy machine must not starve workers, which Ray gives the lowest priority but four, nor a proxy that starts.
    "RAY_worker_niceness": "0",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
}


@contextlib.contextmanager
def two_nodes(cpus: int = 1) -> Iterator[str]:
    """Start a cluster, whose nodes have so many CPUs each, and yield its address."""
    os.environ.update({**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    cluster = _started({"num_cpus": cpus, "object_store_memory": _OBJECTS_BYTES, "node_ip_address": "127.0.0.1"})
    try:
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def _started(node: dict[str, Any]) -> Any:
    """Return a cluster; try again where a busy machine does not start a node within Ray's 30 seconds."""
    from ray.cluster_utils import Cluster

    for left in reversed(range(_TRIES)):
        cluster = Cluster()
        try:
            cluster.add_node(**node, include_dashboard=False)
            cluster.add_node(**node)
            cluster.wait_for_nodes(timeout=120)
        except Exception:  # it has no class of its own
            cluster.shutdown()
            if not left:
                raise
        else:
            break
    return cluster
