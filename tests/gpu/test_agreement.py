"""Test that graphs on a device agree with PyTorch and run every heavy node on that device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from devices import ON_CPU, ON_CUDA, Device, Distance, distance, heavy_nodes, skip_without
from ganserve_server.engine.bound_session import BoundSession
from random_players import random_player

if TYPE_CHECKING:
    from random_players import Kind, Player

# In float32: a share of the largest value; levels of pixels, in at most one of a thousand values.
RELATIVE, LEVELS, UNEQUAL = 1e-4, 1.0, 1e-3
# In float16, with 11 bits of mantissa in each of some ten layers, against PyTorch in float32.
HALF_RELATIVE, HALF_LEVELS, HALF_MEAN_LEVELS = 2e-2, 4.0, 0.3
COUNTS = (1, 3, 16, 64)
ARCHITECTURES = ["dcgan", "residual", "r3gan"]


def cases(kinds: list[Kind], on_cpu: Kind) -> list[object]:
    """Return all players for CUDA and one for the CPU, because making a graph takes seconds."""
    return [pytest.param(*ON_CPU.values, "dcgan", on_cpu, id=f"cpu-dcgan-{on_cpu}")] + [
        pytest.param(*ON_CUDA.values, architecture, kind, id=f"cuda-{architecture}-{kind}", marks=ON_CUDA.marks)
        for architecture in ARCHITECTURES
        for kind in kinds
    ]


def compared(device: Device, player: Player, **engine: Any) -> dict[str, Distance]:
    """Return each output's distance from PyTorch's for some batch sizes, and check where nodes run."""
    config = device.engine(buckets=(1, 4, 64), **engine)
    session = BoundSession("graph.onnx", player.content, config, player.outputs, 0)
    assert session.session.get_providers()[0] == device.provider
    heavy = heavy_nodes(session.session)
    assert set(heavy) == {device.provider}, f"nodes on other devices: {heavy}"
    feeds = [player.feed(count, seed=count) for count in COUNTS]
    found = [session.run({name: value.numpy() for name, value in feed.items()}) for feed in feeds]
    expected = [[output.numpy() for output in player.compute(feed, device.name)] for feed in feeds]
    mine, theirs = (map(np.concatenate, zip(*parts, strict=True)) for parts in (found, expected))
    return dict(zip(player.outputs, map(distance, mine, theirs), strict=True))


@pytest.mark.parametrize(("device", "architecture", "kind"), cases(["generator", "network", "critic"], "critic"))
def test_float32_agrees_with_pytorch(device: Device, architecture: str, kind: Kind) -> None:
    skip_without(device)
    for name, far in compared(device, random_player(architecture, kind)).items():
        if kind == "generator":
            assert far.largest <= LEVELS, (name, far)
            assert far.unequal <= UNEQUAL, (name, far)
        else:
            assert far.largest <= RELATIVE, (name, far)


@pytest.mark.parametrize(("device", "architecture", "kind"), cases(["generator", "critic"], "generator"))
def test_float16_stays_within_its_bounds(device: Device, architecture: str, kind: Kind) -> None:
    skip_without(device)
    for name, far in compared(device, random_player(architecture, kind, half=True)).items():
        if kind == "generator":
            assert far.largest <= HALF_LEVELS, (name, far)
            assert far.mean <= HALF_MEAN_LEVELS, (name, far)
            assert far.unequal > 0, "equal results: the package is not in float16"
        else:
            assert far.largest <= HALF_RELATIVE, (name, far)


@pytest.mark.parametrize("device", [ON_CUDA], indirect=True)
@pytest.mark.parametrize("search", ["heuristic", "exhaustive"])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("architecture", ["dcgan", "r3gan"])
def test_channels_last_computes_the_same(device: Device, architecture: str, half: bool, search: str) -> None:
    player = random_player(architecture, "generator", half=half)
    ((_, far),) = compared(device, player, conv_layout="nhwc", conv_search=search).items()
    assert far.largest <= (HALF_LEVELS if half else LEVELS)
    assert (far.mean <= HALF_MEAN_LEVELS) if half else (far.unequal <= UNEQUAL)
