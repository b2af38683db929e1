"""Test that captures hold the lock alone and go before later calls."""

from __future__ import annotations

import threading
import time

from ganserve_server.engine.cuda_capture_lock import CaptureLock


def wait_until(true: object) -> None:
    """Wait for a condition of another thread."""
    assert callable(true)
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(1e-3)


def test_calls_run_at_the_same_time() -> None:
    captures = CaptureLock()
    both = threading.Barrier(2, timeout=60)

    def call() -> None:
        with captures.shared():
            both.wait()  # fails unless both calls run

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken


def test_a_capture_runs_alone_and_before_later_calls() -> None:
    captures = CaptureLock()
    order: list[str] = []
    leave = threading.Event()

    def first() -> None:
        with captures.shared():
            order.append("first call in")
            assert leave.wait(60)
            order.append("first call out")

    def capture() -> None:
        with captures.exclusive():
            order.append("capture in")
            time.sleep(0.01)
            order.append("capture out")

    def second() -> None:
        with captures.shared():
            order.append("second call")

    threads = [threading.Thread(target=each) for each in (first, capture, second)]
    threads[0].start()
    wait_until(lambda: order)
    threads[1].start()
    wait_until(lambda: captures._waiting)
    threads[2].start()
    time.sleep(0.01)
    leave.set()
    for thread in threads:
        thread.join(60)
    assert order == ["first call in", "first call out", "capture in", "capture out", "second call"]


def test_a_failed_holder_releases_the_lock() -> None:
    captures = CaptureLock()
    for kind in (captures.shared, captures.exclusive):
        try:
            with kind():
                raise ValueError
        except ValueError:
            pass
    with captures.exclusive():
        pass
    with captures.shared():
        pass
