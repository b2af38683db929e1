"""Test batches: their fields, slicing and joining."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ganserve import InvalidRequest, MissingExtra, SampleBatch, UnsupportedByModel
from ganserve._results.input_source import Source
from ganserve._results.tables import read_samples

if TYPE_CHECKING:
    from pathlib import Path


def images(count: int = 6, shape: tuple[int, ...] = (4, 5, 3), **changes: Any) -> SampleBatch:
    random = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int64) % 3
    given: dict[str, Any] = {
        "samples": random.integers(0, 256, (count, *shape), np.uint8),
        "indices": np.arange(10, 10 + count),
        "labels": labels,
        "label_names": tuple("abc"[label] for label in labels),
        "seed": 7,
        "model": "m",
        "version": 3,
        "scores": np.linspace(-1, 1, count, dtype=np.float32),
        "probabilities": np.linspace(0, 1, count, dtype=np.float32),
    }
    return SampleBatch(**given | changes)


def vectors(count: int = 3) -> SampleBatch:
    samples = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    return SampleBatch(
        samples=samples,
        indices=np.arange(count),
        labels=None,
        label_names=None,
        seed=None,
        model="ring",
        version=1,
        latents=-samples,
    )


def test_an_index_gives_one_sample() -> None:
    batch = images()
    sample = batch[-2]
    np.testing.assert_array_equal(sample.image, batch.images[4])
    assert sample.array is not None
    assert (sample.index, sample.label, sample.label_name) == (14, 1, "b")
    assert (sample.seed, sample.model, sample.version) == (7, "m", 3)
    assert sample.score == pytest.approx(0.6)
    assert sample.probability == pytest.approx(0.8)
    assert repr(sample) == "Sample(uint8 [4, 5, 3], label=1 'b', index=14, score=0.6)"
    assert repr(vectors()[0]) == "Sample(float32 [2], index=0)"
    with pytest.raises(IndexError):
        batch[6]


def test_length_and_iteration() -> None:
    batch = images()
    assert len(batch) == 6
    assert [sample.index for sample in batch] == [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (slice(1, 4), [1, 2, 3]),
        (slice(None, None, -2), [5, 3, 1]),
        ([4, 0], [4, 0]),
        (np.array([4, 0]), [4, 0]),
        (np.array([True, False] * 3), [0, 2, 4]),
        (slice(0, 0), []),
    ],
)
def test_slices_masks_and_indices_give_smaller_batches(key: Any, expected: list[int]) -> None:
    batch = images()
    part = batch[key]
    assert len(part) == len(expected)
    np.testing.assert_array_equal(part.samples, batch.samples[expected])
    assert part.indices.tolist() == [10 + i for i in expected]
    assert part.labels is not None
    assert part.labels.tolist() == [i % 3 for i in expected]
    assert part.label_names == tuple("abc"[i % 3] for i in expected)
    assert part.scores is not None
    assert batch.scores is not None
    np.testing.assert_array_equal(part.scores, batch.scores[expected])
    assert part.latents is None
    assert part.offset == (10 + expected[0] if expected else 0)
    assert (part.seed, part.model, part.version) == (7, "m", 3)


def test_an_index_of_two_axes_is_refused() -> None:
    with pytest.raises(IndexError, match="a batch has one axis"):
        images()[np.zeros((2, 2), np.int64)]
    with pytest.raises(IndexError):
        images()[1, 2]  # type: ignore[call-overload]  # what is tested


def test_concatenate_joins_batches() -> None:
    batch = images()
    joined = SampleBatch.concatenate([batch[:2], batch[2:5], batch[5:]])
    for name in ("samples", "indices", "labels", "scores", "probabilities"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(batch, name))
    assert joined.label_names == batch.label_names
    assert joined.latents is None
    with pytest.raises(InvalidRequest, match="batches: is empty"):
        SampleBatch.concatenate([])
    with pytest.raises(InvalidRequest, match=r"batches: have the seeds \['7', '8'\]"):
        SampleBatch.concatenate([batch, images(seed=8)])


def test_vectors_have_no_images() -> None:
    batch = vectors()
    for use in (
        lambda: batch.images,
        lambda: batch[0].image,
        batch.to_pil,
        batch[0].to_pil,
        lambda: batch.save_grid("x.png"),
        lambda: batch.save("x"),
    ):
        with pytest.raises(UnsupportedByModel, match=r"model 'ring' makes float32 \[2\], not images: use samples"):
            use()
    assert batch[0]._repr_png_() is None


def test_representations() -> None:
    assert repr(images()) == (
        "SampleBatch(6 x uint8 [4, 5, 3], model='m', version=3, labels={'a', 'b', 'c'}, seed=7, offset=10, scores=-1…1)"
    )
    assert "label='a'" in repr(images()[::3])
    assert repr(vectors()) == (
        "SampleBatch(3 x float32 [2], model='ring', version=1, seed=None, offset=0, latents=[3, 2])"
    )
    many = images(8, labels=np.arange(8), label_names=tuple("abcdefgh"))
    assert "labels={'a', 'b', 'c', 'd', 'e', … 8 labels}" in repr(many)
    assert "0 x uint8" in repr(images()[:0])


def test_an_archive_holds_everything(tmp_path: Path) -> None:
    batch = images()
    path = batch.save_npz(tmp_path / "x.npz")
    assert path == tmp_path / "x.npz"
    with np.load(path) as archive:
        assert set(archive) == {
            "samples",
            "indices",
            "labels",
            "label_names",
            "seed",
            "model",
            "version",
            "scores",
            "probabilities",
        }
        np.testing.assert_array_equal(archive["samples"], batch.samples)
        assert archive["label_names"].tolist() == list(batch.label_names or ())
        assert archive["seed"].dtype == np.uint64
        assert (archive["seed"].item(), archive["model"].item(), archive["version"].item()) == (7, "m", 3)
    with np.load(vectors().save_npz(tmp_path / "y.npz")) as archive:
        assert set(archive) == {"samples", "indices", "model", "version", "latents"}
    with pytest.raises(InvalidRequest, match=r"path: is .*; expected a name that ends in \.npz"):
        batch.save_npz(tmp_path / "x.zip")


def test_a_csv_table_of_vectors_is_read_back_unchanged(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    samples = random.standard_normal((40, 3)).astype(np.float32) * np.float32([1e-9, 1, 1e9])
    labels = np.arange(40) % 2
    batch = replace(
        images(40), samples=samples, labels=labels, label_names=tuple(('a, "b"', "ü")[label] for label in labels)
    )
    file = batch.save_csv(tmp_path / "x.csv")
    assert file.read_text(encoding="utf-8").startswith("x0,x1,x2,label,score,probability\n")
    read, names, model = read_samples(file, Source())
    assert model is None
    np.testing.assert_array_equal(read.astype(np.float32), samples)
    assert names == list(batch.label_names or ())
    np.testing.assert_array_equal(read_samples(batch.save_npz(tmp_path / "x.npz"), Source())[0], samples)
    assert read_samples(tmp_path / "x.npz", Source())[1:] == (names, batch.model)
    with pytest.raises(UnsupportedByModel, match="makes images"):
        images().save_csv(tmp_path / "images.csv")
    with pytest.raises(InvalidRequest, match=r"ends in \.csv"):
        batch.save_csv(tmp_path / "x.txt")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.csv", b"a,b\n1,2\n", "no columns x0, x1"),
        ("x.csv", b"x0,x1\n1,two\n", "could not convert"),
        ("x.csv", b"", "no columns"),
        ("x.npy", b"nonsense", "cannot be read as samples"),
        ("x.npz", b"PK\x03\x04", "cannot be read as samples"),
    ],
)
def test_a_file_without_samples_is_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidRequest, match=reason):
        read_samples(tmp_path / name, Source())


def test_torch_has_channels_first_and_its_own_memory() -> None:
    torch = pytest.importorskip("torch")
    batch = images()
    tensor = batch.to_torch()
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.uint8, (6, 3, 4, 5))
    assert tensor.is_contiguous()
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1).numpy(), batch.samples)
    tensor.zero_()
    assert batch.samples.any()
    one = batch[2].to_torch()
    assert tuple(one.shape) == (3, 4, 5)
    np.testing.assert_array_equal(one.permute(1, 2, 0).numpy(), batch.samples[2])
    assert vectors().to_torch().tolist() == vectors().samples.tolist()
    assert vectors()[1].to_torch().tolist() == vectors().samples[1].tolist()


def test_without_torch_to_torch_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"to_torch\(\) needs PyTorch, which is not installed: pip install"):
        images().to_torch()


def test_batches_of_which_only_some_have_scores_are_not_joined() -> None:
    batch = images()
    unscored = images(scores=None)
    with pytest.raises(InvalidRequest, match="batches: have scores in part; expected all or none"):
        SampleBatch.concatenate([batch, unscored])


def test_a_sample_that_is_twice_in_a_batch_is_saved_twice(tmp_path: Path) -> None:
    batch = images()[[1, 0, 1]]
    paths = batch.save(tmp_path)
    assert len(set(paths)) == 3 == len(list(tmp_path.iterdir()))
    assert paths[0].read_bytes() == paths[2].read_bytes() != paths[1].read_bytes()
