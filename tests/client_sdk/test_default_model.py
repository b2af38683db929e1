"""Test the model of calls that name none: the client's, else GANSERVE_MODEL, else the server's only model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import ganserve
from commands import said
from ganserve import Client, InvalidRequest
from server_process import running_server
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Api

IMAGE = np.zeros((8, 8, 1), np.uint8)


def drawn_by(api: Api) -> set[str]:
    """Return the models that answered each kind of call."""
    batch = api.sample(2, "one")
    return {
        batch.model,
        *(each.model for each in api.batches(2, "one")),
        api.score(IMAGE, "one").model,
        *(each.model for each in api.scored([IMAGE], "one")),
        api.interpolate(1, 2, 2, "one").model,
        api.model().name,
        api.sample(1, "one", encoding="webp").model,
    }


@pytest.mark.parametrize("given", ["argument", "environment"])
def test_every_call_uses_the_clients_model(
    connect: Callable[..., Api], server: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSERVE_MODEL", " tiny " if given == "environment" else "no-such-model")
    api = connect(server, **({"model": "tiny"} if given == "argument" else {}))
    assert drawn_by(api) == {"tiny"}
    assert ", model='tiny')" in repr(api.client)
    api.wait_until_ready(20)
    assert api.sample(1, model="tiny-rgb").model == "tiny-rgb"


@pytest.mark.parametrize("given", ["argument", "environment"])
def test_a_local_clients_model(
    connect_local: Callable[..., Api], repository: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSERVE_MODEL", "tiny" if given == "environment" else "no-such-model")
    api = connect_local(repository, **({"model": "tiny"} if given == "argument" else {}))
    assert drawn_by(api) == {"tiny"}


def test_scores_are_of_the_model_that_drew_the_samples(connect: Callable[..., Api], server: str) -> None:
    api = connect(server, model="tiny-rgb")
    drawn = api.sample(2, "one", model="tiny")
    assert api.score(drawn).model == "tiny"
    assert [scores.model for scores in api.scored([drawn])] == ["tiny"]


@pytest.mark.slow
def test_a_second_model_breaks_no_client_that_names_its_model(connect: Callable[..., Api], tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "first")
    with running_server(tmp_path) as server:
        named, nameless = connect(server.address, model="first"), connect(server.address)
        assert (named.sample(1).model, nameless.sample(1).model) == ("first", "first")
        build_tiny_package(tmp_path, "second")
        named.wait_until_ready(60, model="second")
        assert drawn_by(named) == {"first"}
        with pytest.raises(InvalidRequest, match="first, second"):
            nameless.sample(1)


def test_commands_use_the_variable(server: str) -> None:
    assert "of tiny version 2" in said("sample", "-n", "1", "--target", server, GANSERVE_MODEL="tiny")


@pytest.mark.parametrize("model", ["", 7, b"tiny"])
def test_invalid_models(connect: Callable[..., Api], model: object) -> None:
    with pytest.raises(InvalidRequest, match=r"model: is .*; expected a model's name"):
        connect("localhost", model=model)


def test_an_unset_variable_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANSERVE_MODEL", "  ")
    with Client("localhost:1") as client:
        assert repr(client) == "Client('localhost:1')"


def test_unknown_default_models_are_named(connect: Callable[..., Api], server: str) -> None:
    with pytest.raises(ganserve.ModelNotFound, match=r"no model 'gone'.*tiny-rgb"):
        connect(server, model="gone").sample(1)
