"""Test that batches depend only on seed and position, in memory or read ahead by workers."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ganserve_training.config import DigitsConfig, FolderConfig
from ganserve_training.data import (
    BatchSource,
    ClassBalancedOrder,
    Images,
    InMemoryBatches,
    StoredImages,
    Vectors,
    load_split,
    make_batches,
    prefetched_batches,
)
from ganserve_training.data.prefetched_batches import PrefetchedBatches
from ganserve_training.data.sample_order import flips
from ganserve_training.data.storage import stored_images as stored_images_module
from ganserve_training.errors import DataError
from ganserve_training.run.training_step import Trainer
from image_files import random_pixels, write_folder
from tiny_runs import assert_same, tiny_config

CPU = torch.device("cpu")
COUNT = 37
LABELS = [("rare" if index % 6 == 0 else "common") for index in range(COUNT)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("images"), random_pixels(COUNT), LABELS)


@pytest.fixture
def stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> StoredImages:
    """Keep the images on disk, like a large set."""
    monkeypatch.setattr(stored_images_module, "IN_MEMORY_BYTES", 0)
    samples = load_split(FolderConfig(path=str(folder)), "train")
    assert isinstance(samples, StoredImages)
    return samples


def in_memory(samples: StoredImages) -> Images:
    pixels = samples.read(np.arange(len(samples)))
    return Images(pixels=pixels, labels=samples.labels, label_names=samples.label_names)


def assert_equal_batches(ours: tuple[Tensor, Tensor | None], theirs: tuple[Tensor, Tensor | None]) -> None:
    assert torch.equal(ours[0], theirs[0])
    assert ours[1] is not None
    assert theirs[1] is not None
    assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("balanced", [False, True], ids=["shuffled", "balanced"])
def test_workers_give_the_same_batches_as_memory_from_any_position(stored: StoredImages, balanced: bool) -> None:
    expected = InMemoryBatches(in_memory(stored), DigitsConfig(flip=True, class_balanced=balanced), 3, CPU)
    loader = PrefetchedBatches(stored, DigitsConfig(flip=True, class_balanced=balanced, workers=2), 3, CPU)
    try:
        requests = [(8 * step, 8) for step in range(9)]  # In order, across the end of an epoch.
        requests += [(step, 4) for step in range(200, 300, 12)]  # One process of three, with another batch size.
        requests += [(0, 8), (8, 8), (5, 3), (1_000_000, 8)]  # Backwards, elsewhere, far ahead.
        for position, count in requests:
            assert_equal_batches(loader.batch(position, count), expected.batch(position, count))
    finally:
        loader.close()


def test_a_resumed_loader_continues_bit_for_bit(stored: StoredImages) -> None:
    whole = PrefetchedBatches(stored, DigitsConfig(flip=True, workers=2), 9, CPU)
    uninterrupted = [whole.batch(5 * step, 5) for step in range(12)]
    whole.close()
    first = PrefetchedBatches(stored, DigitsConfig(flip=True, workers=2), 9, CPU)
    parts = [first.batch(5 * step, 5) for step in range(5)]
    first.close()  # In the middle of an epoch, with unused batches read ahead.
    second = PrefetchedBatches(stored, DigitsConfig(flip=True, workers=1), 9, CPU)
    parts += [second.batch(5 * step, 5) for step in range(5, 12)]
    second.close()
    for ours, theirs in zip(parts, uninterrupted, strict=True):
        assert_equal_batches(ours, theirs)


def test_reading_ahead_follows_the_stride(stored: StoredImages) -> None:
    loader = PrefetchedBatches(stored, DigitsConfig(workers=0), 3, CPU)
    loader.batch(0, 4)
    loader.batch(12, 4)
    started = loader._batches
    for position in (24, 36, 48):
        loader.batch(position, 4)
    assert loader._batches is started


def test_reading_does_not_use_the_global_generators(stored: StoredImages) -> None:
    before = torch.get_rng_state()
    loader = PrefetchedBatches(stored, DigitsConfig(workers=1), 3, CPU)
    loader.batch(0, 4)
    loader.batch(100, 4)
    loader.close()
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_outlive_the_stop_request_of_their_process_group(stored: StoredImages) -> None:
    expected = InMemoryBatches(in_memory(stored), DigitsConfig(), 3, CPU)
    loader = PrefetchedBatches(stored, DigitsConfig(workers=1), 3, CPU)
    try:
        loader.batch(0, 4)
        (worker,) = loader._batches._workers  # type: ignore[union-attr]
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGTERM)
        for position in range(4, 60, 4):
            assert_equal_batches(loader.batch(position, 4), expected.batch(position, 4))
    finally:
        loader.close()


def test_a_killed_worker_is_reported(stored: StoredImages) -> None:
    loader = PrefetchedBatches(stored, DigitsConfig(workers=1), 3, CPU)
    loader.batch(0, 4)
    (worker,) = loader._batches._workers  # type: ignore[union-attr]
    os.kill(worker.pid, signal.SIGKILL)
    positions = range(4, 100, 4)
    with pytest.raises(DataError, match=r"a process that reads data died: .*--data.workers 0"):
        [loader.batch(position, 4) for position in positions]
    assert_equal_batches(loader.batch(0, 4), InMemoryBatches(in_memory(stored), DigitsConfig(), 3, CPU).batch(0, 4))
    loader.close()


def test_a_broken_pipe_before_the_signal_gives_the_same_error(
    stored: StoredImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetched_batches, "_SIGNAL_S", 60.0)

    def died(*_: object) -> None:
        raise RuntimeError("killed by signal")

    def pipe_that_ends() -> Iterator[Tensor]:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        raise EOFError
        yield

    loader = PrefetchedBatches(stored, DigitsConfig(workers=0), 3, CPU)
    loader.batch(0, 4)
    loader._batches = pipe_that_ends()
    before = signal.signal(signal.SIGALRM, died)
    try:
        with pytest.raises(DataError, match=r"a process that reads data died: killed by signal\. .*--data.workers 0"):
            loader.batch(4, 4)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_vanishes_is_named(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_images_module, "IN_MEMORY_BYTES", 0)
    write_folder(tmp_path, random_pixels(6))
    samples = load_split(FolderConfig(path=str(tmp_path)), "train")
    for file in tmp_path.iterdir():
        file.unlink()
    loader = PrefetchedBatches(samples, DigitsConfig(workers=workers), 0, CPU)
    with pytest.raises(DataError, match=r"^/.*\.png can't be read any more: No such file or directory"):
        loader.batch(0, 2)
    loader.close()


def test_small_sets_are_read_into_memory_and_large_ones_read_ahead(
    folder: Path, stored: StoredImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = FolderConfig(path=str(folder), flip=True, class_balanced=True, workers=1)
    large = make_batches(stored, config, 3, CPU)
    assert isinstance(large, PrefetchedBatches)
    monkeypatch.setattr(stored_images_module, "IN_MEMORY_BYTES", 2**20)
    small_samples = load_split(config, "train")
    small = make_batches(small_samples, config, 3, CPU)
    assert isinstance(small, InMemoryBatches)
    assert small_samples.info == stored.info
    for position in (0, 16, 1600):
        assert_equal_batches(small.batch(position, 16), large.batch(position, 16))
    large.close()


def test_bytes_kept_as_bytes_give_the_same_batches(stored: StoredImages, monkeypatch: pytest.MonkeyPatch) -> None:
    as_floats = InMemoryBatches(in_memory(stored), DigitsConfig(flip=True), 3, CPU)
    monkeypatch.setattr("ganserve_training.data.batches._AS_FLOATS_BYTES", 0)
    assert_equal_batches(
        InMemoryBatches(in_memory(stored), DigitsConfig(flip=True), 3, CPU).batch(30, 16), as_floats.batch(30, 16)
    )


def _sources(samples: StoredImages) -> Iterator[BatchSource]:
    yield InMemoryBatches(in_memory(samples), DigitsConfig(flip=True), 3, CPU)
    yield PrefetchedBatches(samples, DigitsConfig(flip=True, workers=0), 3, CPU)


def test_half_of_the_images_are_mirrored_at_any_batch_size(stored: StoredImages) -> None:
    plain = InMemoryBatches(in_memory(stored), DigitsConfig(), 3, CPU).batch(1000, 64)[0]
    mask = torch.from_numpy(flips(1000, 64, 3))
    for source in _sources(stored):
        for size in (1, 7, 64):
            parts = [source.batch(1000 + start, min(size, 64 - start))[0] for start in range(0, 64, size)]
            mirrored = torch.cat(parts)
            assert torch.equal(mirrored[mask], plain[mask].flip(3))
            assert torch.equal(mirrored[~mask], plain[~mask])


def test_mirroring_is_random_by_seed_and_position() -> None:
    coins = flips(0, 100_000, 5)
    assert abs(coins.mean() - 0.5) < 5 * 0.5 / np.sqrt(100_000)
    np.testing.assert_array_equal(flips(54_321, 3000, 5), coins[54_321:57_321])
    assert not np.array_equal(flips(0, 100, 6), coins[:100])


def test_balanced_rounds_show_every_label_once_and_every_sample_in_turn() -> None:
    labels = np.array([4, 0, 0, 0, 2, 0, 0, 2], np.int64)
    order = ClassBalancedOrder(labels, 7)
    rounds = order.indices(0, 3 * 40).reshape(40, 3)
    for row in rounds:
        assert sorted(labels[row].tolist()) == [0, 2, 4]
    assert len({tuple(labels[row].tolist()) for row in rounds}) == 6  # Each order of three labels occurs.
    zeros = rounds[labels[rounds] == 0].reshape(8, 5)  # Five samples: eight epochs.
    for epoch in zeros:
        assert sorted(epoch.tolist()) == [1, 2, 3, 5, 6]
    for position, count in ((0, 1), (7, 11), (50, 33), (119, 1)):
        np.testing.assert_array_equal(
            ClassBalancedOrder(labels, 7).indices(position, count), rounds.reshape(-1)[position : position + count]
        )
    assert not np.array_equal(ClassBalancedOrder(labels, 8).indices(0, 120), rounds.reshape(-1))


def test_data_that_cannot_be_balanced_or_mirrored_are_refused() -> None:
    vectors = Vectors.standardised(np.zeros((4, 2), np.float32))
    with pytest.raises(DataError, match=r"--data\.flip: needs images"):
        make_batches(vectors, DigitsConfig(flip=True), 0, CPU)
    with pytest.raises(DataError, match=r"--data\.class-balanced: needs labels"):
        make_batches(vectors, DigitsConfig(class_balanced=True), 0, CPU)


def test_subsets_keep_their_labels_and_lose_them_when_asked(stored: StoredImages) -> None:
    some = stored.take(np.array([5, 2]))
    np.testing.assert_array_equal(some.read(np.array([1, 0])), stored.read(np.array([2, 5])))
    assert some.labels is not None
    assert stored.labels is not None
    assert some.labels.tolist() == stored.labels[[5, 2]].tolist()
    assert some.without_labels().info == replace(stored.info, label_names=())
    digests = {stored.sha256(), some.sha256(), some.without_labels().sha256(), stored.take(np.array([2, 5])).sha256()}
    assert len(digests) == 4


def test_training_from_disk_gives_the_weights_of_training_from_memory(stored: StoredImages) -> None:
    config = tiny_config(steps=4, data=FolderConfig(path="x", flip=True, workers=1))
    states = []
    for samples in (stored, in_memory(stored)):
        trainer = Trainer(config, samples)
        for _ in range(4):
            trainer.run_step()
        states.append(trainer.state_dict())
        trainer.close()
    assert_same(*states)
