"""Test that the event loop's work for a request is bounded, however many entries its fields have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ganserve_server.requests.limits import Limits
from growing_requests import RPCS, CountedServer, growing_fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZES = (1_000, 100_000, 1_000_000)
LIMITS = Limits()
MOST_IN_MAP = 100_000
# A line takes about 50 ns: half a millisecond.
MOST_STEPS = 10_000


@pytest.fixture(scope="module")
def counted(repository: Path) -> Iterator[CountedServer]:
    with CountedServer(repository, LIMITS).running() as server:
        yield server


@pytest.mark.parametrize("rpc", RPCS)
def test_the_loop_s_work_is_bounded(counted: CountedServer, rpc: str) -> None:
    for field in growing_fields(rpc):
        for fitting in (False, True) if "Unload" not in rpc else (False,):  # the model stays for other requests
            steps = {}
            for size in SIZES:
                if size > MOST_IN_MAP and field.is_map:
                    break
                request = field.request(size, fitting=fitting)
                if len(request) > LIMITS.max_request_bytes:
                    break
                status, steps[size] = counted.call(rpc, request)
                print(field, fitting, size, len(request), status, steps[size])
                assert status not in {"INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE"}, (field, size)
            assert max(steps.values()) <= MOST_STEPS, (str(field), fitting, steps)
