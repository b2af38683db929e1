"""Test descriptions of incomplete models in `ganserve models` and on the page."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from ganserve import Client, InvalidRequest, ModelState, ModelSummary, VersionSummary
from ganserve._commands import models as command
from ganserve._ui import markup, tiles

if TYPE_CHECKING:
    from collections.abc import Sequence


class Answering:
    """Stand in for a client of a server with these models."""

    target = "here:1"

    def __init__(self, models: Sequence[ModelSummary]) -> None:
        self._models = models

    def __call__(self, *_: Any, **__: Any) -> Answering:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def models(self) -> Sequence[ModelSummary]:
        return self._models


def printed(models: Sequence[ModelSummary], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(command, "Client", Answering(models))
    assert command.main([]) == 0
    return capsys.readouterr().out


def test_a_server_without_models_and_one_with_a_broken_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed([], monkeypatch, capsys) == "the server at here:1 has no models\n"
    broken = VersionSummary(
        version=3,
        state=ModelState.FAILED,
        reason="generator.onnx is missing",
        sample=None,
        label_names=(),
        providers=(),
        has_critic=False,
        controls=(),
    )
    shown = printed([ModelSummary(name="faces", versions=(broken,), latest=None)], monkeypatch, capsys)
    assert "faces 3: generator.onnx is missing\n" in shown
    assert "notes" not in shown


def test_facts_of_a_package_with_little_information(server: str) -> None:
    with Client(server) as client:
        info = client.model("tiny")
    origin = replace(info.provenance, created=None, step=0, metrics={})
    bare = replace(
        info,
        critic=None,
        critic_absence="",
        generator=replace(info.generator, verification=None),
        provenance=origin,
        engines=(),
    )
    shown = markup.facts(bare)
    assert ">none<" in shown
    assert "training step" not in shown
    assert "written" not in shown
    assert "unknown" in shown  # the largest batch
    full = replace(bare, provenance=replace(info.provenance, step=1200, metrics={"fid": 3.21}))
    assert "1,200" in markup.facts(full)
    assert "3.21" in markup.facts(full)


def test_labels_with_two_axes_are_refused_before_sending(server: str) -> None:
    with Client(server) as client, pytest.raises(InvalidRequest, match=r"label"):
        client.sample(4, np.zeros((2, 2), np.int64), model="tiny")


def test_vectors_of_more_than_two_values_have_no_picture() -> None:
    batch = SimpleNamespace(samples=np.zeros((4, 3), np.float32))
    assert tiles._points(batch, (0, 0)) == ""
