"""Test every kind of call while OpenTelemetry, Sentry or ddtrace wrap gRPC, on both sides."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import instrumented_calls
from ganserve._calls.hidden_call import Cancelled, HiddenCall
from scripted_server import scripted_server

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = "/ganserve.v1.GanService"
# What each library has a span for; Sentry has none of an asyncio client's streams.
SPANS = {
    "opentelemetry": [
        f"{side} {SERVICE}/{method}"
        for side in ("CLIENT", "SERVER")
        for method in ("Sample", "StreamSamples", "Score", "StreamScores")
    ],
    "sentry": [
        f"CLIENT unary unary call to {SERVICE}/Sample",
        f"CLIENT unary stream call to {SERVICE}/StreamSamples",
        *(f"SERVER {SERVICE}/{method}" for method in ("Sample", "StreamSamples", "Score", "StreamScores")),
    ],
}
SPANS["ddtrace"] = SPANS["opentelemetry"]
AROUND = {"automatic-opentelemetry": "opentelemetry-instrument", "automatic-ddtrace": "ddtrace-run"}
SPANS |= dict.fromkeys(AROUND, SPANS["opentelemetry"])


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind in AROUND else ()) for kind in SPANS]
)
def test_every_call_works_under_instrumentation(kind: str, repository: Path, server: str) -> None:
    hold = threading.Event()
    around = [str(Path(sys.executable).with_name(AROUND[kind]))] if kind in AROUND else []
    with scripted_server() as script:
        script.next = lambda *_: hold.wait(300)  # type: ignore[assignment,method-assign]
        try:
            done = subprocess.run(
                [*around, sys.executable, instrumented_calls.__file__, kind, str(repository), server, script.address],
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
        finally:
            hold.set()
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    for client in ("Client", "AsyncClient"):
        answers = printed["answers"][client]
        for refused in ("refused", "refused stream"):
            assert answers.pop(refused).startswith("InvalidRequest: label: is 'nine'; model 'tiny' has the labels")
        assert answers.pop("slow stream").startswith("DeadlineExceeded: no batch came within 1 s")
        assert answers == {
            "sample": 2,
            "stream": [2, 2, 2, 2, 1],
            "left": 2,
            "score": 2,
            "score_stream": [2] * 20,
            "intercepted": [2] * 20,
            "intercepted stream": [2, 2, 2, 2, 1],
        }
    assert [span for span in SPANS[kind] if span not in printed["spans"]] == []
    # Two calls of the client that blocks, three of the other one; neither SDK nor server makes a second span of a call.
    assert printed["spans"].count(f"SERVER {SERVICE}/Sample") == 5
    if kind.endswith("opentelemetry"):
        assert len([span for span in printed["spans"] if span.startswith("CLIENT") and span.endswith("/Sample")]) == 7


def test_a_hidden_call_gives_its_messages_and_errors() -> None:
    def messages() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("broke")

    call = HiddenCall(messages())
    assert [next(call), next(call)] == [1, 2]
    with pytest.raises(ValueError, match="broke"):
        next(call)
    assert next(call, None) is None
    call.cancel()
    with pytest.raises(Cancelled):
        next(call)


def test_cancelling_a_hidden_call_ends_the_wait_and_then_the_call() -> None:
    waits, goes_on, closed = threading.Event(), threading.Event(), threading.Event()

    def messages() -> Iterator[int]:
        try:
            waits.set()
            assert goes_on.wait(60)
            yield 1
        finally:
            closed.set()

    call = HiddenCall(messages())
    threading.Thread(target=lambda: waits.wait(60) and call.cancel()).start()
    with pytest.raises(Cancelled):
        next(call)
    assert not closed.is_set()
    goes_on.set()
    assert closed.wait(60)


def test_cancelling_between_messages_closes_a_hidden_call() -> None:
    closed = threading.Event()

    def messages() -> Iterator[int]:
        try:
            yield from (1, 2)
        finally:
            closed.set()

    call = HiddenCall(messages())
    next(call)
    call.cancel()
    assert closed.is_set()
