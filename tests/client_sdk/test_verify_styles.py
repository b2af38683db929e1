"""Test verifying pictures of style-based generators: given w's, walks in W, mixing and noise."""

from __future__ import annotations

import base64
import io
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ganserve import Client
from ganserve._marks.files import png_with_xmp
from ganserve._marks.mark import MOST_GIVEN_BYTES, Mark
from ganserve._marks.xmp import MOST_SEGMENT_BYTES, MOST_XMP_BYTES, MarkError, MarkWriter, read_mark
from tiny_styles import LAYERS, W, build_style_package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ganserve import SampleBatch


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("models")
    build_style_package(folder, psi=0.75, layers=2)
    with Client.local(folder, model="styles") as client:
        yield client


def _check(client: Client, batch: SampleBatch) -> None:
    """Check that the batch's pictures are exact: a grid, single files, parts of it, and those of other programs."""
    assert client.verify(batch.grid_png()).likeness == "exact"
    assert client.verify(batch[::2].grid_png()).likeness == "exact"
    verdict = client.verify(batch.png(len(batch) - 1))
    assert (verdict.likeness, verdict.notes) == ("exact", ())
    assert batch.w is not None
    moved = read_mark(batch[0].xmp)[0]
    assert moved is not None
    assert (moved.complete, moved.w) == (True, batch.w[0].astype("<f4").tobytes())


def test_given_ws_verify(client: Client) -> None:
    drawn = client.sample(5, "two", seed=3, offset=7, return_w=True, return_latents=True, mix_seed=8, mix_from=1)
    assert drawn.w is not None
    _check(client, client.sample(5, "two", seed=3, offset=7, w=drawn.w[::-1].copy(), noise="seeded"))
    _check(client, client.sample(5, ["two", "one", "zero", "one", "two"], latents=drawn.latents, w=drawn.w))
    _check(client, client.sample(5, 1, latents=drawn.latents, w=drawn.w, noise="none"))


def test_walks_in_w_verify(client: Client) -> None:
    _check(client, client.interpolate(1, 2, 40, "one", truncation=0.5, noise="constant"))
    assert client.verify(client.interpolate(1, 2, 5, "one").grid_png()).likeness == "exact"


def test_given_latents_verify_with_the_options_of_their_request(client: Client) -> None:
    latents = client.sample(3, "one", seed=1, return_latents=True).latents
    for options in ({"truncation": 0.1}, {"noise": "constant"}, {"noise": "none", "truncation": 0.5}):
        batch = client.sample(3, "one", latents=latents, **options)
        assert client.verify(batch.grid_png()).likeness == client.verify(batch.png(1)).likeness == "exact", options


def test_marks_hold_the_ws_of_large_generators_and_bound_what_they_read() -> None:
    writer = MarkWriter(Mark(model="faces", version=1, seed=None))
    random = np.random.default_rng(0)
    own, latent = random.standard_normal((18, 512)).astype("<f4"), random.standard_normal(512).astype("<f4")
    mark = read_mark(xmp := writer.sample(0, 3, "cat", latent.tobytes(), own.tobytes()))[0]
    assert len(xmp) < MOST_SEGMENT_BYTES, "fits into a JPEG, even if each layer has another w"
    assert mark is not None
    assert (mark.complete, mark.w, mark.latents) == (True, own.tobytes(), latent.tobytes())
    walk = np.repeat(random.standard_normal((64, 1, 512)).astype("<f4"), 18, axis=1)
    mark = read_mark(xmp := writer.picture(64, np.tile(latent, (64, 1)).tobytes(), walk.tobytes()))[0]
    assert len(xmp) < 2**18, "equal rows take no room"
    assert mark is not None
    assert (mark.w, len(mark.latents)) == (walk.tobytes(), 64 * 2048)
    noise = random.standard_normal((64, 18, 512)).astype("<f4").tobytes()
    large = read_mark(xmp := writer.picture(64, b"", noise))[0]
    assert len(xmp) < MOST_XMP_BYTES
    assert large is not None
    assert (large.complete, large.w) == (False, b"")
    small = writer.picture(1, b"", b"1234")
    kept = small.partition(b'DeflatedW="')[2].partition(b'"')[0]
    bomb = base64.b64encode(zlib.compress(bytes(MOST_GIVEN_BYTES + 1)))
    for wrong in (b"AAAA", kept[:-8], bomb):
        with pytest.raises(MarkError, match="has W that are"):
            read_mark(small.replace(kept, wrong))


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        (Mark(model="styles", seed=1, index=0, w=bytes(4 * W)), f"has {W} values of w's; expected 1 x {LAYERS} x {W}"),
        (Mark(model="styles", w=bytes(4 * W * LAYERS)), "its mark has no seed: give one"),
        (Mark(model="styles", seed=1, w=bytes(4 * W * LAYERS)), "neither seed and index nor latents"),
        (Mark(model="styles", seed=1, index=0, w=b"\xff" * (4 * W * LAYERS)), "w's that are not finite"),
    ],
)
def test_marks_with_other_ws_are_unknown(client: Client, mark: Mark, reason: str) -> None:
    file = io.BytesIO()
    client.sample(1, "one", seed=1)[0].to_pil().save(file, "PNG")
    writer = MarkWriter(Mark(model=mark.model, version=1, seed=mark.seed))
    xmp = writer.picture(1, b"", mark.w) if mark.index is None else writer.sample(0, 1, "one", b"", mark.w)
    verdict = client.verify(png_with_xmp(file.getvalue(), xmp))
    assert verdict.likeness == "unknown"
    assert reason in verdict.reason
