from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ray_cluster import two_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Start a Ray cluster of two nodes, two CPUs each."""
    with two_nodes(cpus=2) as address:
        yield address
