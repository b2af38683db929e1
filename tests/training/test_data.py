import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from ganserve_training.config import DigitsConfig
from ganserve_training.data import (
    DataInfo,
    Images,
    InMemoryBatches,
    ShuffledOrder,
    from_network,
    load_split,
    to_network,
)
from ganserve_training.errors import DataError


def test_the_split_follows_the_protocol() -> None:
    bunch = load_digits()
    pixels = np.round(bunch.images * 255 / 16).astype(np.uint8)[..., None]
    expected = train_test_split(pixels, bunch.target, test_size=0.2, random_state=0, stratify=bunch.target)
    train, held_out = load_split(DigitsConfig(), "train"), load_split(DigitsConfig(), "held_out")
    np.testing.assert_array_equal(train.pixels, expected[0])
    np.testing.assert_array_equal(held_out.pixels, expected[1])
    np.testing.assert_array_equal(train.labels, expected[2])
    np.testing.assert_array_equal(held_out.labels, expected[3])
    assert (len(train), len(held_out)) == (1437, 360)


def test_digits_are_described_and_use_the_whole_range() -> None:
    images = load_split(DigitsConfig(), "train")
    assert images.info == DataInfo(sample_shape=(8, 8, 1), label_names=tuple("0123456789"))
    assert DataInfo.from_dict(images.info.to_dict()) == images.info
    assert sorted(np.unique(images.pixels).tolist()) == [round(v * 255 / 16) for v in range(17)]


def test_another_seed_holds_out_other_samples() -> None:
    assert load_split(DigitsConfig(split_seed=1), "train").sha256() != load_split(DigitsConfig(), "train").sha256()


def test_every_byte_survives_conversion_to_floats_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(2, 8, 8, 2)
    info = DataInfo(sample_shape=(8, 8, 2))
    images = to_network(pixels, info)
    assert images.shape == (2, 2, 8, 8)
    assert images.dtype == torch.float32
    assert (images.min().item(), images.max().item()) == (-1.0, 1.0)
    assert images[1, 1, 2, 3].item() == pytest.approx(pixels[1, 2, 3, 1].item() / 127.5 - 1)
    assert torch.equal(from_network(images, info), pixels)


def test_floats_out_of_range_are_clamped() -> None:
    assert from_network(
        torch.tensor([-3.0, 5.0]).view(2, 1, 1, 1), DataInfo(sample_shape=(1, 1, 1))
    ).flatten().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("pixels", "labels", "names", "message"),
    [
        (np.zeros((2, 8, 8), np.uint8), None, (), r"pixels must be uint8 \[N, H, W, C\]"),
        (np.zeros((2, 8, 8, 1), np.float32), None, (), "got float32"),
        (np.zeros((2, 8, 8, 1), np.uint8), np.zeros(2, np.int64), (), "given together"),
        (np.zeros((2, 8, 8, 1), np.uint8), None, ("a",), "given together"),
        (np.zeros((2, 8, 8, 1), np.uint8), np.zeros(3, np.int64), ("a",), r"labels must be int64 \[2\]"),
        (np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), ("a",), "below 1"),
    ],
)
def test_images_of_another_form_are_refused(
    pixels: object, labels: object, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Images(pixels=pixels, labels=labels, label_names=names)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (10, 10), (3, 8), (1, 5), (64, 7)])
def test_every_epoch_shows_every_sample_once(count: int, batch: int) -> None:
    order = ShuffledOrder(count, seed=5)
    epochs = 6
    stream = np.concatenate([order.indices(i * batch, batch) for i in range(-(-epochs * count // batch))])[
        : epochs * count
    ]
    for epoch in stream.reshape(epochs, count):
        assert sorted(epoch.tolist()) == list(range(count))


def test_a_batch_does_not_depend_on_earlier_batches() -> None:
    forward = ShuffledOrder(10, seed=5)
    batches = [forward.indices(4 * i, 4) for i in range(20)]
    for i in (19, 0, 7, 3):
        np.testing.assert_array_equal(ShuffledOrder(10, seed=5).indices(4 * i, 4), batches[i])
        np.testing.assert_array_equal(forward.indices(4 * i, 4), batches[i])


def test_each_epoch_and_seed_has_a_different_order() -> None:
    order = ShuffledOrder(100, seed=5)
    assert not np.array_equal(order.indices(0, 100), order.indices(100, 100))
    assert not np.array_equal(order.indices(0, 100), ShuffledOrder(100, seed=6).indices(0, 100))


def test_an_order_of_no_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="count must be at least 1"):
        ShuffledOrder(0, seed=0)


def test_batches_are_the_samples_with_their_labels() -> None:
    images = load_split(DigitsConfig(), "train")
    source = InMemoryBatches(images, DigitsConfig(), 3, torch.device("cpu"))
    samples, labels = source.batch(35, 5)
    indices = ShuffledOrder(len(images), 3).indices(35, 5)
    assert torch.equal(from_network(samples, images.info), torch.from_numpy(images.pixels[indices]))
    assert labels is not None
    assert labels.tolist() == images.labels[indices].tolist()
    assert InMemoryBatches(Images(pixels=images.pixels), DigitsConfig(), 3, torch.device("cpu")).batch(35, 5)[1] is None
