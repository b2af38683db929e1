"""Test that threads may share a client."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ganserve import Client


def test_one_client_for_many_threads(server: str) -> None:
    with Client(server) as client:
        expected = client.sample(20, model="tiny", seed=1).samples
        results: list[Any] = []

        def work() -> None:
            results.extend(client.sample(20, model="tiny", seed=1).samples for _ in range(10))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 80
    for result in results:
        np.testing.assert_array_equal(result, expected)
