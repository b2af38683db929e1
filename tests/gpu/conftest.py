"""Run each test on CUDA, its purpose, and on the CPU, to try out the test itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devices import ON_CPU, ON_CUDA, skip_without

if TYPE_CHECKING:
    from devices import Device


@pytest.fixture(scope="session", params=[ON_CPU, ON_CUDA])
def device(request: pytest.FixtureRequest) -> Device:
    """Return a device; skip the test where it is missing."""
    skip_without(request.param)
    return request.param
