"""Test the sources that read files: arrays, IDX, CIFAR-10, Parquet."""

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganserve_training.config import (
    ArrayConfig,
    Cifar10Config,
    IdxConfig,
    ParquetConfig,
)
from ganserve_training.data import (
    Samples,
    StoredImages,
    Vectors,
    load_split,
)
from ganserve_training.data.storage import stored_images as stored_images_module
from ganserve_training.data.storage.parquet_store import ParquetStore
from ganserve_training.errors import DataError
from image_files import encode, random_pixels, write_cifar10, write_idx


def everything(samples: Samples) -> np.ndarray:
    return samples.read(np.arange(len(samples)))


def array(path: Path, **changes: Any) -> Samples:
    return ArrayConfig(path=str(path), **changes).load(None)


# Arrays


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_npy_images_are_read_unchanged(tmp_path: Path, channels: int | None) -> None:
    pixels = random_pixels(6, channels=channels or 1)
    np.save(tmp_path / "x.npy", pixels if channels else pixels[..., 0])
    np.save(tmp_path / "y.npy", np.array([7, 3, 7, 3, 3, 7]))
    samples = array(tmp_path / "x.npy", labels_path=str(tmp_path / "y.npy"))
    np.testing.assert_array_equal(everything(samples), pixels)
    assert samples.info.label_names == ("3", "7")
    assert samples.labels is not None
    assert samples.labels.tolist() == [1, 0, 1, 0, 0, 1]


def test_arrays_larger_than_memory_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_images_module, "IN_MEMORY_BYTES", 0)
    np.save(tmp_path / "x.npy", random_pixels(10))
    samples = load_split(ArrayConfig(path=str(tmp_path / "x.npy")), "train")
    assert isinstance(samples, StoredImages)
    assert isinstance(samples.store.pixels, np.memmap)  # type: ignore[attr-defined]
    assert len(samples.sha256()) == 64
    again = pickle.loads(pickle.dumps(samples))
    np.testing.assert_array_equal(everything(again), everything(samples))


def test_arrays_are_resized_and_their_channels_converted(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((4, 28, 20), 77, np.uint8))
    samples = array(tmp_path / "x.npy", size=32, channels="rgb")
    assert everything(samples).shape == (4, 32, 32, 3)
    assert set(everything(samples).ravel().tolist()) == {77}


def test_float_arrays_are_vectors_scaled_by_the_whole_set(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(5.0, 3.0, (50, 4))
    np.savez(tmp_path / "x.npz", x=values, y=np.array(["b", "a"] * 25))
    samples = array(tmp_path / "x.npz")
    assert isinstance(samples, Vectors)
    assert samples.info.label_names == ("a", "b")
    np.testing.assert_allclose(samples.info.mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(samples.info.std, values.std(0), rtol=1e-6)
    held_out = load_split(ArrayConfig(path=str(tmp_path / "x.npz")), "held_out")
    assert held_out.info == samples.info


def test_npz_files_may_have_label_names(tmp_path: Path) -> None:
    pixels = random_pixels(4)
    np.savez(tmp_path / "x.npz", images=pixels, labels=np.array([2, 0, 0, 2]), label_names=np.array(["u", "v", "w"]))
    samples = array(tmp_path / "x.npz")
    assert samples.info.label_names == ("u", "w")
    assert samples.labels is not None
    assert samples.labels.tolist() == [1, 0, 0, 1]
    assert [str(item) for item in samples.origin.passed_over] == ["1 declared label without samples (v)"]
    np.savez(tmp_path / "x.npz", images=pixels, labels=np.array([1, 0, 0, 1]), label_names=np.array(["v", "u"]))
    samples = array(tmp_path / "x.npz")
    assert samples.info.label_names == ("v", "u")
    assert samples.labels is not None
    assert samples.labels.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros(3)}, r"must hold images or x or vectors or arr_0 \(it has: z\)"),
        ({"x": np.zeros((3, 8, 8, 8, 1))}, r"must hold images, uint8 .* or vectors.*got float64 \[3, 8, 8, 8, 1\]"),
        ({"x": np.full((3, 8, 8), 16.0)}, r"0 to 255, 0 to 1 or -1 to 1 \(got float64 from 16 to 16\)"),
        ({"x": np.full((3, 8, 8), 300)}, r"0 to 255, 0 to 1 or -1 to 1 \(got int64 from 300 to 300\)"),
        ({"x": np.full((3, 8, 8), np.nan)}, r"got float64 from nan to nan"),
        ({"x": np.zeros((3, 8), np.uint8)}, r"holds whole numbers \[3, 8\], .*: store vectors as floats"),
        ({"x": np.zeros((20, 30, 3), np.uint8)}, r"holds one image, \[20, 30, 3\]: store many"),
        ({"x": np.zeros((3, 5, 8, 8), np.uint8)}, r"1 to 4 channels on its last axis \(got \[3, 5, 8, 8\]\)"),
        ({"x": np.zeros((0, 8, 8), np.uint8)}, r"got uint8 \[0, 8, 8, 1\]"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.zeros(2, np.int64)}, "has 2 labels, but .* has 3 samples"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.full(3, 0.5)}, "labels that are integers or text.*got float64"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.zeros((3, 2), int)}, r"one label a sample, \[N\].*\[3, 2\]"),
        (
            {"x": np.zeros((3, 8, 8), np.uint8), "y": np.array([0, 1, 2]), "label_names": np.array(["a", "b"])},
            r"labels from 0 to 1 \(got 0 to 2\)",
        ),
        ({"x": np.zeros((3, 8, 8), np.uint8), "label_names": np.array(["a"])}, "has label_names, but no labels"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "images": np.zeros(3)}, "only one of images and x"),
        ({"x": np.array([[1.0], [np.inf]])}, "vector 1 has inf at position 0"),
        ({"x": np.array([None])}, "can't be read as a .npy or .npz file of numbers or text"),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        array(tmp_path / "x.npz")


def test_label_files_and_image_options_must_fit_the_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 2)), y=np.arange(3))
    np.save(tmp_path / "y.npy", np.arange(3))
    with pytest.raises(DataError, match="its own labels under 'y'"):
        array(tmp_path / "x.npz", labels_path=str(tmp_path / "y.npy"))
    with pytest.raises(DataError, match=r"--data\.size 8: needs images, and .* holds vectors"):
        array(tmp_path / "x.npz", size=8)
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY nonsense")
    with pytest.raises(DataError, match=r"bad.npy: can't be read as a .npy"):
        array(tmp_path / "bad.npy")
    (tmp_path / "y.csv").write_text("file,label")
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    with pytest.raises(DataError, match=r"A CSV file is for --data\.source folder"):
        array(tmp_path / "x.npy", labels_path=str(tmp_path / "y.csv"))


# IDX


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("separator", ["-", "."])
def test_idx_files_are_found_by_their_names(tmp_path: Path, ending: str, separator: str) -> None:
    pixels = random_pixels(6, channels=1)
    write_idx(tmp_path / f"train-images{separator}idx3-ubyte{ending}", pixels[..., 0])
    write_idx(tmp_path / f"train-labels{separator}idx1-ubyte{ending}", np.array([5, 9, 5, 9, 5, 9], np.uint8))
    samples = IdxConfig(path=str(tmp_path)).load(None)
    np.testing.assert_array_equal(everything(samples), pixels)
    assert samples.info.label_names == ("5", "9")
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_idx_labels_may_be_elsewhere_or_dropped(tmp_path: Path) -> None:
    images = write_idx(tmp_path / "pictures", random_pixels(4, channels=1)[..., 0])
    with pytest.raises(DataError, match=r"no labels beside it .*--data.labels ignore"):
        IdxConfig(path=str(images)).load(None)
    assert IdxConfig(path=str(images), labels="ignore").load(None).labels is None
    labels = write_idx(tmp_path / "other", np.arange(4, dtype=np.uint8))
    samples = IdxConfig(path=str(images), labels_path=str(labels)).load(None)
    assert samples.info.label_names == ("0", "1", "2", "3")
    with pytest.raises(DataError, match="holds no file of images, such as train-images-idx3-ubyte: "):
        IdxConfig(path=str(tmp_path)).load(None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0", "it has 2 bytes"),
        (b"PNG rubbish", "must start with the IDX magic number 0x00000803 or 0x00000804 .got 0x504e4720"),
        (b"\0\0\x0d\x03" + b"\0" * 12, "magic number .*got 0x00000d03"),
        (b"\0\0\x08\x01\0\0\0\x01a", "magic number .*got 0x00000801"),
        (b"\0\0\x08\x03\0\0\0\x01", "header alone should have 16 bytes .got 8"),
        (b"\0\0\x08\x03" + b"\0\0\0\x02" * 3 + b"1234567", r"is truncated: 2 x 2 x 2 bytes .*24 .got 23"),
        (b"\0\0\x08\x03" + b"\0\0\0\x02" * 3 + b"123456789", "is too long"),
        (gzip.compress(b"\0\0\x08\x03" + b"\0\0\0\x02" * 3 + b"12345678", mtime=0)[:-9], "can't be read"),
    ],
)
def test_idx_files_of_another_form_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DataError, match=message):
        IdxConfig(path=str(tmp_path / "x"), labels="ignore").load(None)


# CIFAR-10


def test_cifar10_batches_are_read_in_order_with_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    pixels = random_pixels(20, 32)
    labels = np.arange(20, dtype=np.uint8) % 10
    write_cifar10(folder / "data_batch_1.bin", pixels[:12], labels[:12])
    write_cifar10(folder / "data_batch_2.bin", pixels[12:], labels[12:])
    write_cifar10(folder / "test_batch.bin", pixels[:3], labels[:3])
    samples = Cifar10Config(path=str(tmp_path)).load(None)
    np.testing.assert_array_equal(everything(samples), pixels)
    assert samples.labels is not None
    assert samples.labels.tolist() == labels.tolist()
    assert samples.info.label_names == tuple("0123456789")
    (folder / "batches.meta.txt").write_text("\n".join(f"kind {label}" for label in range(10)) + "\n\n")
    one = Cifar10Config(path=str(folder / "data_batch_1.bin"))
    assert one.load(None).info.label_names[3] == "kind 3"


def test_cifar10_files_of_another_form_are_refused(tmp_path: Path) -> None:
    config = Cifar10Config(path=str(tmp_path))
    with pytest.raises(DataError, match="holds no data_batch_"):
        config.load(None)
    path = write_cifar10(tmp_path / "data_batch_1.bin", random_pixels(2, 32), np.array([3, 12], np.uint8))
    with pytest.raises(DataError, match="record 1 has the label 12"):
        config.load(None)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"records of 3,073 bytes.*got 6,145 bytes"):
        config.load(None)


# Parquet


def write_parquet(path: Path, pixels: np.ndarray, labels: Any, *, plain: bool = False, metadata: Any = None) -> Path:
    encoded = [encode(item) for item in pixels]
    images = encoded if plain else [{"bytes": data, "path": None} for data in encoded]
    table = pa.table({"image": images, "label": labels})
    if metadata is not None:
        table = table.replace_schema_metadata({b"huggingface": json.dumps(metadata).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=4)
    return path


def parquet(path: Path, **changes: Any) -> StoredImages:
    return ParquetConfig(path=str(path), **changes).load(None)


@pytest.mark.parametrize("plain", [False, True], ids=["struct", "bytes"])
def test_parquet_rows_are_read_by_index_from_any_row_group(tmp_path: Path, plain: bool) -> None:
    pixels = random_pixels(23)
    features = {"info": {"features": {"label": {"names": ["u", "v"], "_type": "ClassLabel"}}}}
    labels = [index % 2 for index in range(23)]
    for part, rows in (("train-0", slice(0, 10)), ("train-1", slice(10, 23))):
        write_parquet(tmp_path / "data" / f"{part}.parquet", pixels[rows], labels[rows], plain=plain, metadata=features)
    write_parquet(tmp_path / "data" / "test-0.parquet", pixels[:3], labels[:3], plain=plain)
    samples = parquet(tmp_path)
    assert samples.info.label_names == ("u", "v")
    assert samples.labels is not None
    assert samples.labels.tolist() == labels
    np.testing.assert_array_equal(everything(samples), pixels)
    some = np.array([22, 0, 9, 10, 11, 0])
    np.testing.assert_array_equal(samples.read(some), pixels[some])
    again = pickle.loads(pickle.dumps(samples))  # A spawned worker gets a pickled copy.
    np.testing.assert_array_equal(again.read(some), pixels[some])
    assert again.sha256() == samples.sha256()
    assert samples.store.name(12).endswith("train-1.parquet row 2")


def test_too_large_parquet_row_groups_are_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganserve_training.data.storage.parquet_store._GROUP_BYTES", 1)
    pixels = random_pixels(12)
    samples = parquet(write_parquet(tmp_path / "x.parquet", pixels, list("ab" * 6)))
    np.testing.assert_array_equal(samples.read(np.array([11, 0, 5])), pixels[[11, 0, 5]])
    assert isinstance(samples.store, ParquetStore)
    assert len(samples.store._process.groups) == 1


def test_bad_rows_are_named(tmp_path: Path) -> None:
    images = [encode(item) for item in random_pixels(4)]
    table = pa.table({"image": [{"bytes": item} for item in (images[0], None, b"x", images[3])], "label": list("abab")})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    with pytest.raises(DataError) as caught:
        parquet(tmp_path)
    assert "x.parquet row 1: it holds no bytes\n" in str(caught.value)
    assert "x.parquet row 2: it is not a PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF or Netpbm image\n" in str(caught.value)
    assert len(parquet(tmp_path, on_bad_file="skip")) == 2


def test_parquet_labels_are_text_or_integers_without_gaps(tmp_path: Path) -> None:
    pixels = random_pixels(4)
    path = tmp_path / "x.parquet"
    assert parquet(write_parquet(path, pixels, ["10", "9", "9", "10"])).info.label_names == ("9", "10")
    assert parquet(write_parquet(path, pixels, [4, 4, -1, -1])).info.label_names == ("-1", "4")
    dictionary = pa.array(["x", "y", "x", "y"]).dictionary_encode()
    assert parquet(write_parquet(path, pixels, dictionary)).info.label_names == ("x", "y")
    with pytest.raises(DataError, match="row 2 has no label"):
        parquet(write_parquet(path, pixels, ["a", "a", None, "b"]))
    with pytest.raises(DataError, match=r"integers or text \(got float64\)"):
        parquet(write_parquet(path, pixels, [0.5, 1.0, 1.0, 1.0]))


def test_parquet_files_of_another_form_are_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", random_pixels(4), list("abab"))
    with pytest.raises(DataError, match=r"no column 'img' \(it has: image, label\): name one with --data.image-column"):
        parquet(path, image_column="img")
    with pytest.raises(DataError, match=r"no column 'kind' .*--data.label-column; or learn without labels"):
        parquet(path, label_column="kind")
    with pytest.raises(DataError, match=r"column 'label' must hold encoded images.*got string"):
        parquet(path, image_column="label")
    assert parquet(path, label_column="kind", labels="ignore").labels is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \.parquet files"):
        parquet(tmp_path / "empty")
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="can't be read as a Parquet file"):
        parquet(path)


# What is drawn
