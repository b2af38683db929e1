"""Test scoring with a real server and both clients."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import tiny_packages
from ganserve import InvalidRequest, SampleBatch, UnsupportedByModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Api

GRAY = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
LABELS = np.array([2, 0, 1, 1, 0])
EXPECTED = tiny_packages.CONDITIONAL.scores(GRAY, LABELS)


def test_scores_are_the_critics_output(api: Api) -> None:
    scores = api.score(GRAY, LABELS, model="tiny")
    assert (scores.scores.dtype, scores.probabilities.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(scores.scores, EXPECTED)
    expected = tiny_packages.CONDITIONAL.probabilities(EXPECTED)
    np.testing.assert_allclose(scores.probabilities, expected, rtol=0, atol=1e-6)
    assert (scores.model, scores.version, scores.labels) == ("tiny", 2, (2, 0, 1, 1, 0))
    assert len(scores) == 5
    assert [score.score for score in scores] == EXPECTED.tolist()
    assert scores[0].label == 2
    assert scores[0].probability == scores.probabilities[0]
    assert repr(scores).startswith("Scores(5 samples, model='tiny', version=2, mean score=")


@pytest.mark.parametrize(
    ("images", "count"),
    [
        (GRAY, 5),
        (GRAY[..., 0], 5),
        (GRAY[0], 1),
        (GRAY[0, ..., 0], 1),
        (GRAY[:3, ..., 0], 3),  # not channels first: the model is gray
        (list(GRAY), 5),
        ([GRAY[0, ..., 0], GRAY[1]], 2),
        ([GRAY[:2], GRAY[2:]], 5),
        (np.asfortranarray(GRAY), 5),
        (Image.fromarray(GRAY[0, ..., 0]), 1),
        ([Image.fromarray(image[..., 0]) for image in GRAY], 5),
        ([GRAY[0], Image.fromarray(GRAY[1, ..., 0])], 2),
        (Image.fromarray(GRAY[0].repeat(3, -1)), 1),  # RGB of equal channels is gray
        (Image.fromarray(GRAY[0, ..., 0]).convert("LA"), 1),
    ],
)
def test_every_form_of_images(api: Api, images: Any, count: int) -> None:
    scores = api.score(images, LABELS[:count], model="tiny")
    np.testing.assert_array_equal(scores.scores, EXPECTED[:count])


@pytest.mark.parametrize(
    ("label", "expected"), [("two", ("two",) * 5), (2, (2,) * 5), (["two"] * 5, ("two",) * 5), (np.uint8(2), (2,) * 5)]
)
def test_one_label_for_all(api: Api, label: Any, expected: tuple[Any, ...]) -> None:
    scores = api.score(GRAY, label, model="tiny")
    assert scores.labels == expected
    np.testing.assert_array_equal(scores.scores, tiny_packages.CONDITIONAL.scores(GRAY, np.full(5, 2)))


def test_files(api: Api, tmp_path: Path) -> None:
    for i, suffix in enumerate((".png", ".webp", ".PNG")):
        Image.fromarray(GRAY[i, ..., 0]).save(tmp_path / f"{i}{suffix}", lossless=True)
    paths = sorted(tmp_path.iterdir())
    scores = api.score([paths[0], str(paths[1]), paths[2]], LABELS[:3], model="tiny")
    np.testing.assert_array_equal(scores.scores, EXPECTED[:3])
    np.testing.assert_array_equal(api.score(str(paths[0]), 2, model="tiny").scores, EXPECTED[:1])


def test_gray_pictures_for_a_model_of_colours(api: Api) -> None:
    gray = np.random.default_rng(1).integers(0, 256, (16, 12), np.uint8)
    scores = api.score(Image.fromarray(gray), "green", model="tiny-rgb")
    expected = tiny_packages.RGB.scores(gray[None, ..., None].repeat(3, -1), np.array([1]))
    np.testing.assert_array_equal(scores.scores, expected)


def test_vectors(api: Api) -> None:
    vectors = np.array([[0.5, -0.25], [1.0, 2.0]])
    expected = tiny_packages.VECTOR.scores(vectors.astype(np.float32))
    np.testing.assert_array_equal(api.score(vectors, model="tiny-vector").scores, expected)
    scores = api.score(vectors[0].astype(np.float32), model="tiny-vector")
    np.testing.assert_array_equal(scores.scores, expected[:1])
    assert scores.labels is None
    assert scores[0].label is None


def test_a_grid_holds_its_samples_labels_and_model(api: Api, tmp_path: Path) -> None:
    batch = api.sample(40, model="tiny-rgb", return_scores=True)
    scores = api.score(batch.save_grid(tmp_path / "grid.png"))
    np.testing.assert_array_equal(scores.scores, batch.scores)
    np.testing.assert_array_equal(scores.probabilities, batch.probabilities)
    assert scores.labels == batch.label_names
    assert scores.model == "tiny-rgb"
    files = batch[:3].save(tmp_path / "each")
    np.testing.assert_array_equal(api.score(files).scores, batch[:3].scores)
    with Image.open(tmp_path / "grid.png") as picture:
        np.testing.assert_array_equal(api.score(picture).scores, batch.scores)


def test_given_labels_and_models_override_the_grids(api: Api, tmp_path: Path) -> None:
    batch = api.sample(6, "zero", model="tiny")
    path = batch.save_grid(tmp_path / "grid.png")
    expected = tiny_packages.CONDITIONAL.scores(batch.images, np.full(6, 1))
    np.testing.assert_array_equal(api.score(path, "one").scores, expected)
    scores = api.score(path, 1, version=1)
    assert (scores.model, scores.version) == ("tiny", 1)
    with pytest.raises(InvalidRequest, match=r"grid\.png' is 8x8 pixels; model 'tiny-rgb' takes 12x16"):
        api.score(path, model="tiny-rgb")


def test_a_grid_of_an_unconditional_model_has_no_labels(api: Api, tmp_path: Path) -> None:
    batch = api.sample(3, model="tiny-unconditional", return_scores=True)
    scores = api.score(batch.save_grid(tmp_path / "grid.png"))
    np.testing.assert_array_equal(scores.scores, batch.scores)
    assert scores.labels is None


def test_labels_of_only_some_pictures_are_not_enough(api: Api, tmp_path: Path) -> None:
    grid = api.sample(2, model="tiny").save_grid(tmp_path / "grid.png")
    Image.fromarray(GRAY[0, ..., 0]).save(tmp_path / "plain.png")
    with pytest.raises(InvalidRequest, match=r"label: is missing: .*plain\.png has none, but others do"):
        api.score([grid, tmp_path / "plain.png"], model="tiny")


def test_a_picture_of_another_size_is_refused_with_both_sizes(api: Api, tmp_path: Path) -> None:
    Image.new("L", (100, 80)).save(tmp_path / "big.png")
    with pytest.raises(
        InvalidRequest, match=r"images: '.*big\.png' is 100x80 pixels; model 'tiny' takes 8x8; only a grid"
    ):
        api.score(tmp_path / "big.png", 1, model="tiny")
    with pytest.raises(InvalidRequest, match=r"images\[1\]: is 12x16 pixels; model 'tiny' takes 8x8"):
        api.score([Image.new("L", (8, 8)), Image.new("L", (12, 16))], 1, model="tiny")


def test_a_picture_that_would_lose_something_is_refused(api: Api) -> None:
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[0, 0] = 1, 2, 3
    with pytest.raises(InvalidRequest, match="images: has colours, and the model takes gray"):
        api.score(Image.fromarray(colours), 1, model="tiny")


def test_pictures_are_not_vectors(api: Api) -> None:
    with pytest.raises(InvalidRequest, match=r"images: is a picture, and model 'tiny-vector' scores vectors \[2\]"):
        api.score(Image.new("L", (8, 8)), model="tiny-vector")


def test_a_model_without_a_critic(api: Api) -> None:
    with pytest.raises(UnsupportedByModel, match="has no critic and cannot score: it judges 2 samples together"):
        api.score(GRAY, 1, model="tiny-uncritical")


def test_a_critic_that_takes_no_labels(api: Api, tmp_path: Path) -> None:
    expected = tiny_packages.CODES.scores(GRAY)
    np.testing.assert_array_equal(api.score(GRAY, model="tiny-codes").scores, expected)
    with pytest.raises(UnsupportedByModel, match="scores without labels, though the generator takes them"):
        api.score(GRAY, "code-1", model="tiny-codes")
    # The labels in a picture are not a request to score by them.
    batch = api.sample(4, "code-1", model="tiny-codes", seed=1, return_scores=True)
    scored = api.score(batch.save_grid(tmp_path / "grid.png"))
    assert (scored.model, scored.labels) == ("tiny-codes", None)
    np.testing.assert_array_equal(scored.scores, batch.scores)


def test_a_conditional_model_needs_labels(api: Api) -> None:
    with pytest.raises(InvalidRequest, match="label") as caught:
        api.score(GRAY, model="tiny")
    assert caught.value.violations[0].field == "label"
    assert caught.value.code == "INVALID_ARGUMENT"


def test_samples_hold_their_labels_and_model(api: Api) -> None:
    batch = api.sample(4, model="tiny-rgb", return_scores=True)
    for given, chosen in (
        (batch, [0, 1, 2, 3]),
        (batch[2], [2]),
        (list(batch), [0, 1, 2, 3]),
        ([batch[3], batch[:2]], [3, 0, 1]),
        (api.sample(4, model="tiny-rgb", seed=batch.seed, encoding="float32")[1], [1]),
    ):
        scores = api.score(given)
        assert (scores.model, scores.labels) == ("tiny-rgb", tuple(batch[i].label_name for i in chosen))
        np.testing.assert_array_equal(scores.scores, batch[chosen].scores)
    vectors = api.sample(2, model="tiny-vector", return_scores=True)
    assert api.score(vectors[1]).scores.tolist() == [vectors[1].score]


def test_a_folder_gives_its_pictures_in_order_of_name(api: Api, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"images: '.*' is a folder without pictures .*; expected files"):
        api.score(tmp_path, model="tiny")
    for name, image in (("b.png", GRAY[1]), ("a.PNG", GRAY[0]), ("c.webp", GRAY[2])):
        Image.fromarray(image[..., 0]).save(tmp_path / name, lossless=True)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._b.png").write_text("no picture")
    np.testing.assert_array_equal(api.score(tmp_path, LABELS[:3], model="tiny").scores, EXPECTED[:3])
    np.testing.assert_array_equal(
        api.score([GRAY[0], str(tmp_path)], LABELS[[0, 0, 1, 2]], model="tiny").scores[1:], EXPECTED[:3]
    )
    (tmp_path / "d.png").write_text("no picture")
    with pytest.raises(InvalidRequest, match=r"images: '.*d\.png' cannot be read as a picture"):
        api.score(tmp_path, 1, model="tiny")


@pytest.mark.parametrize(
    ("images", "refusal"),
    [
        (GRAY.transpose(0, 3, 1, 2), "[5, 1, 8, 8], channels first; expected [N, H, W, C]: .transpose(0, 2, 3, 1)"),
        (np.zeros((3, 16, 12), np.uint8), "[3, 16, 12], channels first; expected [H, W, C]: .transpose(1, 2, 0)"),
        (np.zeros((2, 3, 16, 12)), ".astype(numpy.uint8), channels last: .transpose(0, 2, 3, 1)"),
    ],
)
def test_channels_first_are_refused_with_the_fix(api: Api, images: Any, refusal: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(refusal)):
        api.score(images, 1, model="tiny-rgb")


def test_channels_first_of_a_tensor_are_refused_with_its_fix(api: Api) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(InvalidRequest, match=r"channels first; expected \[N, H, W, C\]: .permute\(0, 2, 3, 1\)"):
        api.score(torch.zeros(2, 3, 16, 12, dtype=torch.uint8), 1, model="tiny-rgb")


def test_torch_tensors_are_accepted(api: Api) -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(api.score(torch.from_numpy(GRAY), LABELS, model="tiny").scores, EXPECTED)


@pytest.mark.parametrize("kind", ["bytes", "open file", "buffer"])
def test_encoded_pictures_without_a_path(api: Api, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(GRAY[0, ..., 0]).save(file)
    data = file.read_bytes()
    with file.open("rb") as opened:
        scores = api.score({"bytes": data, "open file": opened, "buffer": io.BytesIO(data)}[kind], 2, model="tiny")
        assert not opened.closed
    np.testing.assert_array_equal(scores.scores, EXPECTED[:1])


def test_tensors_with_gradients_and_of_bfloat16(api: Api) -> None:
    torch = pytest.importorskip("torch")
    vectors = np.random.default_rng(1).standard_normal((2, 2), np.float32)
    expected = api.score(vectors, model="tiny-vector").scores
    traced = torch.from_numpy(vectors).requires_grad_()
    np.testing.assert_array_equal(api.score(traced, model="tiny-vector").scores, expected)
    with pytest.raises(InvalidRequest, match=r"images: is a Tensor, not an array .*BFloat16"):
        api.score(traced.bfloat16(), model="tiny-vector")
    latents = torch.zeros((1, 4), requires_grad=True)
    drawn = api.sample(1, 0, model="tiny", latents=latents)
    np.testing.assert_array_equal(drawn.samples, api.sample(1, 0, model="tiny", latents=np.zeros((1, 4))).samples)


def test_numbers_are_one_vector(api: Api) -> None:
    expected = api.score(np.array([[0.5, -1], [2, 0]], np.float32), model="tiny-vector").scores
    np.testing.assert_array_equal(api.score([0.5, -1], model="tiny-vector").scores, expected[:1])
    np.testing.assert_array_equal(api.score([(0.5, np.float32(-1)), [2, 0]], model="tiny-vector").scores, expected)


@pytest.mark.parametrize("encoding", ["raw", "float32"])
def test_an_archive_holds_its_labels_and_model(api: Api, tmp_path: Path, encoding: Any) -> None:
    batch = api.sample(6, [0, 1, 2, 2, 1, 0], model="tiny", seed=3, encoding=encoding, return_scores=True)
    scores = api.score(batch.save_npz(tmp_path / "d.npz"))
    np.testing.assert_array_equal(scores.scores, batch.scores)
    assert scores.labels == batch.label_names
    np.savez(tmp_path / "others.npz", samples=batch.images / np.float32(255))
    with pytest.raises(InvalidRequest, match=r"images: '.*others.npz' is float32 \[6, 8, 8, 1\]; expected images as"):
        api.score(tmp_path / "others.npz", 0, model="tiny")
    with pytest.raises(InvalidRequest, match=r"images: '.*none.csv' does not exist"):
        api.score(str(tmp_path / "none.csv"))


def test_what_stream_gives_can_be_scored(connect: Callable[..., Api], server: str) -> None:
    api = connect(server)
    batch = SampleBatch.concatenate(api.batches(50, model="tiny", chunk_size=20, return_scores=True))
    np.testing.assert_array_equal(api.score(batch.images, batch.labels, model="tiny").scores, batch.scores)
