"""Package generators of videos as strips or frames. N = batch, Z = latent, T = frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreign_graphs import FLOAT, Z, flat_critic, flat_generator, node, weight
from foreign_packages import LATENTS, assert_same_pixels, levels, manifest, run, wrap
from ganserve_export import ExportError

if TYPE_CHECKING:
    from pathlib import Path

T, C, H, W = 6, 3, 8, 5
VALUES = T * C * H * W
FORMS = {"ntchw": (T, C, H, W), "ncthw": (C, T, H, W), "nthwc": (T, H, W, C)}


def videos(file: Path, form: str) -> Path:
    tail = [node("Tanh", "flat", "t"), node("Reshape", "t shape", "img")]
    constants = {"shape": np.array([-1, *FORMS[form]])}
    return flat_generator(file, tail, (FLOAT, ["n", *FORMS[form]]), values=VALUES, constants=constants)


def frames(form: str) -> np.ndarray:
    """Return the frames [N, T, C, H, W]."""
    values = np.tanh(LATENTS @ weight(Z, VALUES)).reshape(-1, *FORMS[form])
    return values.transpose({"ntchw": (0, 1, 2, 3, 4), "ncthw": (0, 2, 1, 3, 4), "nthwc": (0, 1, 4, 2, 3)}[form])


@pytest.mark.parametrize("form", FORMS)
def test_strips(tmp_path: Path, form: str) -> None:
    packaged = wrap(tmp_path, videos(tmp_path / "g.onnx", form))
    (samples,) = run(packaged, latents=LATENTS)
    assert samples.shape[1:] == (H, T * W, C)
    assert_same_pixels(samples, levels(np.concatenate(list(frames(form).transpose(1, 0, 2, 3, 4)), axis=3)))
    assert "of 6 frames, side by side, -1..1 by its tanh" in packaged.generator_is


@pytest.mark.parametrize("form", FORMS)
def test_frames_by_a_control(tmp_path: Path, form: str) -> None:
    packaged = wrap(tmp_path, videos(tmp_path / "g.onnx", form), video="frames")
    (control,) = manifest(packaged).latent.controls
    assert (control.name, control.low, control.high, control.default) == ("frame", 0.0, T - 1.0, 0.0)
    chosen = np.arange(len(LATENTS)) % T
    (samples,) = run(packaged, latents=np.concatenate([LATENTS, chosen[:, None].astype(np.float32)], axis=1))
    assert_same_pixels(samples, levels(frames(form)[np.arange(len(LATENTS)), chosen]))


def test_a_critic_of_videos_cannot_score_strips(tmp_path: Path) -> None:
    critic = flat_critic(tmp_path / "c.onnx", FORMS["ncthw"])
    with pytest.raises(ExportError, match=r"takes videos \(x .*videos cannot be scored yet. Package the generator"):
        wrap(tmp_path, videos(tmp_path / "g.onnx", "ncthw"), critic)


def test_frames_along_the_batch_axis(tmp_path: Path) -> None:
    """Serve frames as DIGAN gives them, [N T, C, H, W], one sample at a time."""
    tail = [node("Tanh", "flat", "t"), node("Reshape", "t shape", "img")]
    constants = {"shape": np.array([-1, C, H, W])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["nt", C, H, W]), values=VALUES, constants=constants)
    with pytest.raises(ExportError, match=r"gives 6 results for each sample, .*add --batch one"):
        wrap(tmp_path, file)
    packaged = wrap(tmp_path, file, batch="one")
    (samples,) = run(packaged, latents=LATENTS)
    assert_same_pixels(samples, levels(np.concatenate(list(frames("ntchw").transpose(1, 0, 2, 3, 4)), axis=3)))
