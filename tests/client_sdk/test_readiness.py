"""Test waiting for a server."""

from __future__ import annotations

import math
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import ganserve
from ganserve import InvalidRequest
from ganserve._calls import readiness as _readiness
from ganserve.v1 import gan_service_pb2
from ports import free_port
from scripted_server import Status, scripted_server
from server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Api


def test_a_ready_server(api: Api) -> None:
    api.wait_until_ready(60)
    api.wait_until_ready(60, model="tiny-rgb")
    name: Any = "tiny"
    with pytest.raises(InvalidRequest, match=r"timeout_s: is 'tiny'; expected seconds; a model .* is model='tiny'"):
        api.wait_until_ready(name)


@pytest.mark.parametrize("timeout_s", [2.0, 30, math.inf])
def test_an_unknown_model(api: Api, timeout_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_readiness, "_UNKNOWN_S", 2.5)
    with pytest.raises(
        ganserve.ModelNotFound, match=r"there is no model 'nope' after \d+\.\d s; there are: tiny, tiny-codes"
    ):
        api.wait_until_ready(timeout_s, model="nope")


def test_a_model_may_be_unknown_for_a_while_repeatedly(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(_readiness, "time", SimpleNamespace(monotonic=lambda: now))
    wait = _readiness.Readiness("a", math.inf)
    known = ganserve.ModelSummary(name="a", versions=(), latest=None)
    other = ganserve.ModelSummary(name="b", versions=(), latest=1)
    for answer in ([], [other], [other, known], [other], ganserve.ServerUnavailable("gone"), [other], []):
        wait.attempt()
        assert (wait.answered(answer) if isinstance(answer, list) else wait.refused(answer)) > 0
        now += 2.4
    wait.attempt()
    now += 0.3
    with pytest.raises(ganserve.ModelNotFound, match=r"^there is no model 'a' after 5\.1 s; there is none$"):
        wait.attempt()


def test_a_server_without_any_model(connect: Callable[..., Api], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_readiness, "_UNKNOWN_S", 0.15)
    with scripted_server() as script:
        script.answers = [models()] * 100
        with pytest.raises(ganserve.ModelNotFound, match=r"there is no model 'a' after \d+\.\d s; there is none"):
            connect(script.address).wait_until_ready(60, model="a")


def test_a_server_that_is_just_starting(connect: Callable[..., Api], repository: Path) -> None:
    port = str(free_port())
    api = connect(f"127.0.0.1:{port}")
    started: list[ServerProcess] = []
    # It starts while the client waits.
    timer = threading.Timer(0.2, lambda: started.append(ServerProcess(repository, "--port", port)))
    timer.start()
    try:
        api.wait_until_ready(120)
        assert api.sample(1, model="tiny").model == "tiny"
    finally:
        timer.join()
        started[0].stop()


def test_no_server(connect: Callable[..., Api], closed_port: str) -> None:
    with pytest.raises(ganserve.ServerUnavailable, match=r"not ready after 1\.8 s: no server answers at") as caught:
        connect(closed_port).wait_until_ready(1.8)
    assert isinstance(caught.value.__cause__, ganserve.ServerUnavailable)


def models(*states: tuple[str, int, gan_service_pb2.ModelState]) -> gan_service_pb2.ListModelsResponse:
    response = gan_service_pb2.ListModelsResponse()
    for name, latest, state in states:
        model = response.models.add(name=name, latest=latest)
        model.versions.add(version=latest or 1, state=state, reason="it is torn" if not latest else "")
    return response


LOADING, READY, FAILED = (
    gan_service_pb2.MODEL_STATE_LOADING,
    gan_service_pb2.MODEL_STATE_READY,
    gan_service_pb2.MODEL_STATE_FAILED,
)


@pytest.mark.parametrize(
    ("answers", "model"),
    [
        ([models(), models(("a", 0, LOADING)), models(("a", 1, READY))], None),
        ([models(("a", 1, READY), ("b", 0, LOADING)), models(("a", 1, READY), ("b", 0, FAILED))], None),
        ([models(("a", 1, READY), ("b", 0, LOADING)), models(("a", 1, READY), ("b", 3, READY))], "b"),
        ([models(("a", 1, READY), ("b", 0, LOADING))], "a"),
        ([Status(grpc.StatusCode.UNAVAILABLE, "starting"), models(("a", 1, READY))], None),
    ],
)
def test_readiness_of_models(connect: Callable[..., Api], answers: list[Any], model: str | None) -> None:
    with scripted_server() as script:
        script.answers = list(answers)
        connect(script.address).wait_until_ready(30, model=model)
        assert len(script.requests) == len(answers)


@pytest.mark.parametrize(
    ("state", "message"), [(LOADING, r"a version 1 is loading"), (FAILED, r"a version 1 is failed \(it is torn\)")]
)
def test_the_error_says_what_was_missing(connect: Callable[..., Api], state: Any, message: str) -> None:
    with scripted_server() as script:
        script.answers = [models(("a", 0, state))] * 1000
        with pytest.raises(ganserve.ServerUnavailable, match=message):
            connect(script.address).wait_until_ready(2.0)


def test_a_permanent_failure_ends_the_wait(connect: Callable[..., Api]) -> None:
    with scripted_server() as script:
        script.answers = [Status(grpc.StatusCode.UNIMPLEMENTED, "no such method")]
        with pytest.raises(ganserve.UnsupportedByServer):
            connect(script.address).wait_until_ready(30)
