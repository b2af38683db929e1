"""Package large images, which take seconds each: few of them are computed. N = batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from foreign_graphs import FLOAT, Z, flat_critic, node, save, weight
from foreign_packages import LATENTS, NCHW, assert_same_pixels, levels, run
from ganserve_export import OnnxOptions, package_onnx
from ganserve_export.package.rows_at_once import batches_to_compare
from heard_steps import HeardSteps

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 256


@pytest.mark.parametrize(
    ("side", "expected"), [(32, (1, 3, 64)), (64, (1, 3, 64)), (128, (1, 3, 21)), (SIDE, (1, 3, 5)), (1024, (1, 2))]
)
def test_large_images_are_compared_in_smaller_batches(side: int, expected: tuple[int, ...]) -> None:
    assert batches_to_compare(side * side * 3, (1, 3, 64)) == expected


def test_few_large_images_are_drawn_and_compared(tmp_path: Path) -> None:
    """Enlarge images of 4x4 pixels, at an open batch axis that hides a batch of 7."""
    nodes = [
        node("MatMul", "z w", "flat"), node("Tanh", "flat", "t"), node("Reshape", "t shape", "small"),
        node("Resize", "small none scales", "img", mode="nearest"),
    ]  # fmt: skip
    constants = {"w": weight(Z, 48), "shape": np.array([7, 3, 4, 4])}
    constants |= {"none": np.zeros(0, np.float32), "scales": np.array([1, 1, SIDE / 4, SIDE / 4], np.float32)}
    generator = save(
        tmp_path / "g.onnx", nodes, {"z": (FLOAT, ["n", Z])}, {"img": (FLOAT, ["n", 3, SIDE, SIDE])}, constants
    )
    critic = flat_critic(tmp_path / "d.onnx", (3, SIDE, SIDE))
    steps = HeardSteps()
    packaged = package_onnx(generator, critic, tmp_path / "models" / "x", OnnxOptions(**NCHW), steps)
    assert len(steps.words) == steps.expected
    assert steps.words[:2] == ["trying g.onnx", "trying d.onnx"]
    assert packaged.generator.batch_sizes == (1, 3, 5)
    assert not packaged.truncation_absence
    small = np.tanh(LATENTS @ weight(Z, 48)).reshape(-1, 3, 4, 4)
    expected = levels(small.repeat(SIDE // 4, axis=2).repeat(SIDE // 4, axis=3))
    assert_same_pixels(run(packaged, latents=LATENTS)[0], expected)
    with Image.open(packaged.folder / "preview.png") as picture:
        assert picture.width < 5 * (SIDE + 8)
