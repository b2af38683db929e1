"""Test that packages whose style contradicts itself or the graph are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ganserve_server.errors import PackageError
from package_loading import load
from tiny_packages import read_manifest, write_manifest
from tiny_styles import LAYERS, PSI_ONLY, SEEDED, STYLE, W, build_style_package, style_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ganserve.v1 import model_spec_pb2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda style: setattr(style, "layers", 0), "style.layers is 0; expected 1 to 64"),
        (lambda style: setattr(style, "layers", 65), "style.layers is 65"),
        (
            lambda style: setattr(style, "layers", LAYERS + 1),
            r"input psi is .*; expected psi float32 \[N, 4\]",
        ),
        (lambda style: style.ClearField("noise_modes"), r"has the inputs \['constant_noise', .*; expected latents"),
        (
            lambda style: style.noise_modes.append(SEEDED),
            "style.noise_modes is 1, 2, 3, 1; expected known",
        ),
        (lambda style: style.noise_modes.append(9), "style.noise_modes is 1, 2, 3, 9"),
        (lambda style: style.ClearField("w_dimension"), "has the inputs .*; expected latents"),
        (lambda style: setattr(style, "w_dimension", W + 1), r"input w is .*; expected w float32 \[N, 3, 5\]"),
        (lambda style: setattr(style, "w_dimension", 2**20), "style.w_dimension is 1048576; expected at most 16384"),
        (lambda style: setattr(style, "default_truncation", 1.5), "style.default_truncation is 1.5; expected 0 to 1"),
        (lambda style: setattr(style, "default_truncation", float("nan")), "style.default_truncation is nan"),
        (lambda style: setattr(style, "default_truncation_layers", 4), "style.default_truncation_layers is 4"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_the_graph(
    tmp_path: Path, change: Callable[[model_spec_pb2.StyleSpec], None], problem: str
) -> None:
    folder = build_style_package(tmp_path)
    spec = read_manifest(folder)
    change(spec.style)
    write_manifest(folder, spec)
    with pytest.raises(PackageError, match=problem):
        load(folder)


def test_a_graph_that_ignores_given_w(tmp_path: Path) -> None:
    folder = build_style_package(tmp_path)
    folder.joinpath("generator.onnx").write_bytes(style_graph(STYLE, ignores_given=True).SerializeToString())
    write_manifest(folder, read_manifest(folder))
    with pytest.raises(PackageError, match="the w's of a sample, given back with w_given 1, give another sample"):
        load(folder)


def test_a_graph_without_the_w_that_its_manifest_promises(tmp_path: Path) -> None:
    folder = build_style_package(tmp_path, model=PSI_ONLY)
    spec = read_manifest(folder)
    spec.style.w_dimension = W
    write_manifest(folder, spec)
    with pytest.raises(PackageError, match="expected latents float32"):
        load(folder)
