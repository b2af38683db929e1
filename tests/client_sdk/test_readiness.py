"""Waiting for a server."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import ganserve
from ganserve.v1 import gan_service_pb2
from scripted_server import Status, scripted_server
from server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Api


def test_a_server_that_is_ready(api: Api) -> None:
    api.wait_until_ready(10)
    api.wait_until_ready(10, model="tiny-rgb")
    with pytest.raises(ganserve.ServerUnavailable, match=r"not ready after 0\.3 s: the server has no model 'nope'"):
        api.wait_until_ready(0.3, model="nope")


def test_a_server_that_is_just_starting(connect: Callable[..., Api], repository: Path, closed_port: str) -> None:
    api = connect(closed_port)
    started: list[ServerProcess] = []
    # Started while the client waits already.
    timer = threading.Timer(
        0.2, lambda: started.append(ServerProcess(repository, "--port", closed_port.rpartition(":")[2]))
    )
    timer.start()
    try:
        api.wait_until_ready(60)
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
def test_what_counts_as_ready(connect: Callable[..., Api], answers: list[Any], model: str | None) -> None:
    with scripted_server() as script:
        script.answers = list(answers)
        connect(script.address).wait_until_ready(30, model=model)
        assert len(script.requests) == len(answers)


@pytest.mark.parametrize(
    ("state", "message"), [(LOADING, r"a version 1 is loading"), (FAILED, r"a version 1 is failed \(it is torn\)")]
)
def test_what_was_missing(connect: Callable[..., Api], state: Any, message: str) -> None:
    with scripted_server() as script:
        script.answers = [models(("a", 0, state))] * 1000
        with pytest.raises(ganserve.ServerUnavailable, match=message):
            connect(script.address).wait_until_ready(0.3)


def test_a_failure_that_will_not_pass_ends_the_wait(connect: Callable[..., Api]) -> None:
    with scripted_server() as script:
        script.answers = [Status(grpc.StatusCode.UNIMPLEMENTED, "no such method")]
        with pytest.raises(ganserve.UnsupportedByServer):
            connect(script.address).wait_until_ready(30)
