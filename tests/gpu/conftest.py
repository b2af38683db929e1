"""Tests take `device`: the CPU, where their own logic is tried out everywhere, and CUDA, which is what they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devices import ON_CPU, ON_CUDA, skip_without

if TYPE_CHECKING:
    from devices import Device


@pytest.fixture(scope="session", params=[ON_CPU, ON_CUDA])
def device(request: pytest.FixtureRequest) -> Device:
    """A device; a test skips where it cannot be had."""
    skip_without(request.param)
    return request.param
