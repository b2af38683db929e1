"""Test that SampleDataset gives each sample once, for any number of workers and ranks."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ganserve import BestOf, Client, InvalidRequest, ServerUnavailable
from ganserve.data import SampleDataset

if TYPE_CHECKING:
    from collections.abc import Iterator

# The samples fill no whole number of batches, and the batches no whole number for each worker and rank.
N, BATCH = 103, 8


# Forks of a server process that has imported everything but not used gRPC, unlike this process.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["ganserve.data"])


def batches(dataset: SampleDataset, workers: int, context: Any = FORKSERVER) -> list[Any]:
    loader = DataLoader(
        dataset, batch_size=None, num_workers=workers, multiprocessing_context=context if workers else None
    )
    return list(loader)


@pytest.fixture(scope="module")
def drawn(server_process: Any) -> np.ndarray:
    """Return samples 0 to N - 1 of the seed from one call; all differ."""
    with Client(server_process.address) as client:
        samples = client.sample(N, model="tiny-vector", seed=5).samples
    assert len(np.unique(samples, axis=0)) == N
    return samples


def indices(samples: torch.Tensor, drawn: np.ndarray) -> list[int]:
    """Return the indices of these samples."""
    known = {sample.tobytes(): index for index, sample in enumerate(drawn)}
    return [known[sample.tobytes()] for sample in samples.numpy()]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("ranks", [1, 2])
def test_all_workers_together_give_every_sample_once(server: str, drawn: np.ndarray, workers: int, ranks: int) -> None:
    found: list[int] = []
    for rank in range(ranks):
        dataset = SampleDataset(
            N, batch_size=BATCH, connect=server, model="tiny-vector", seed=5, rank=rank, world_size=ranks
        )
        of_rank = batches(dataset, workers)
        assert len(of_rank) == len(dataset)
        # The order of the batches does not depend on the number of workers.
        expected = [list(range(b * BATCH, min(N, (b + 1) * BATCH))) for b in range(rank, -(-N // BATCH), ranks)]
        assert [indices(batch, drawn) for batch in of_rank] == expected
        found += [index for batch in of_rank for index in indices(batch, drawn)]
    assert sorted(found) == list(range(N))


@pytest.mark.parametrize("context", [pytest.param("spawn", marks=pytest.mark.slow), "forkserver"])
def test_workers_beside_an_open_client(server: str, drawn: np.ndarray, context: str) -> None:
    with Client(server) as client:  # like that of a training script that also draws samples
        client.sample(1, model="tiny-vector")
        dataset = SampleDataset(N, batch_size=BATCH, connect=server, model="tiny-vector", seed=5)
        found = [index for batch in batches(dataset, 2, context) for index in indices(batch, drawn)]
        assert found == list(range(N))
        client.sample(1, model="tiny-vector")


FORKED = """
import sys
from torch.utils.data import DataLoader
from ganserve import Client
from ganserve._calls import forks
from ganserve.data import SampleDataset

forks._SETTLE_S = 60.0  # on a busy machine, gRPC's threads may take longer than usual to end

def samples(workers):
    dataset = SampleDataset(100, batch_size=8, connect=sys.argv[1], model="tiny-vector", seed=5)
    loader = DataLoader(dataset, None, num_workers=workers, multiprocessing_context="fork" if workers else None)
    return [batch.tolist() for batch in loader]

alone = samples(2)  # of a parent that has not used gRPC
assert samples(0) == alone  # its client is closed just before the next fork
assert samples(2) == alone
client = Client(sys.argv[1])
client.sample(1, model="tiny-vector")
try:
    samples(2)
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[-1])
client.close()
assert samples(2) == alone
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds gRPC's threads as Linux lists them")
def test_forked_workers_need_a_parent_without_clients(server: str) -> None:
    # Run in a new process, which has not used gRPC.
    command = [sys.executable, "-c", FORKED, server]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "GanserveError ganserve._errors.GanserveError: process " in done.stdout, done.stdout
    assert 'start it with multiprocessing_context="spawn" or "forkserver", or close all clients' in done.stdout


def test_images_with_labels(server: str) -> None:
    dataset = SampleDataset(10, batch_size=4, connect=server, model="tiny-rgb", seed=1)
    (images, labels), *rest = batches(dataset, 0)
    assert (images.shape, images.dtype) == ((4, 3, 16, 12), torch.uint8)
    assert (labels.shape, labels.dtype) == ((4,), torch.int64)
    assert [len(labels) for _, labels in rest] == [4, 2]
    with Client(server) as client:
        direct = client.sample(4, model="tiny-rgb", seed=1)
    np.testing.assert_array_equal(images.numpy(), direct.images.transpose(0, 3, 1, 2))
    assert labels.tolist() == list(direct.labels)


@pytest.mark.parametrize("label", ["two", 2, np.int64(2)])
def test_one_label(server: str, label: Any) -> None:
    found = batches(SampleDataset(10, label, batch_size=4, connect=server, model="tiny", seed=1), 0)
    assert torch.cat([labels for _, labels in found]).tolist() == [2] * 10


@pytest.mark.parametrize("workers", [0, 2])
def test_a_label_for_each_sample(server: str, workers: int) -> None:
    labels = np.arange(11) % 3
    dataset = SampleDataset(11, labels, batch_size=4, connect=server, model="tiny", seed=1, offset=7)
    found = batches(dataset, workers)
    assert torch.cat([each for _, each in found]).tolist() == labels.tolist()
    with Client(server) as client:
        direct = client.sample(11, labels, model="tiny", seed=1, offset=7)
    np.testing.assert_array_equal(
        torch.cat([images for images, _ in found]).numpy(), direct.images.transpose(0, 3, 1, 2)
    )


def test_options_are_passed_to_the_client(server: str) -> None:
    options: dict[str, Any] = {"truncation": 0.5, "select": BestOf(3), "version": 1, "encoding": "float32"}
    dataset = SampleDataset(6, "one", batch_size=6, connect=server, model="tiny", seed=1, **options)
    ((images, _),) = batches(dataset, 0)
    with Client(server) as client:
        direct = client.sample(6, "one", model="tiny", seed=1, **options)
    assert images.dtype == torch.float32
    np.testing.assert_array_equal(images.numpy(), direct.samples.transpose(0, 3, 1, 2))
    controlled = SampleDataset(6, batch_size=6, connect=server, model="tiny-codes", seed=1, controls={"c0": 0.5})
    ((images, _),) = batches(controlled, 0)
    with Client(server) as client:
        direct = client.sample(6, model="tiny-codes", seed=1, controls={"c0": 0.5})
    np.testing.assert_array_equal(images.numpy(), direct.images.transpose(0, 3, 1, 2))


def test_it_pickles_with_a_function_that_makes_the_client(server: str, drawn: np.ndarray) -> None:
    connect = partial(Client, server, timeout_s=30)
    dataset = SampleDataset(N, batch_size=BATCH, connect=connect, model="tiny-vector", seed=5)
    copy: SampleDataset = pickle.loads(pickle.dumps(dataset))
    assert indices(torch.cat(batches(copy, 2)), drawn) == list(range(N))
    next(iter(dataset))  # it still pickles after use
    assert indices(torch.cat(list(pickle.loads(pickle.dumps(dataset)))), drawn) == list(range(N))


def test_all_workers_share_a_drawn_seed(server: str) -> None:
    dataset = SampleDataset(40, batch_size=4, connect=server, model="tiny-vector")
    assert torch.cat(batches(dataset, 3)).tolist() == torch.cat(batches(dataset, 0)).tolist()
    other = SampleDataset(40, batch_size=4, connect=server, model="tiny-vector")
    assert other.seed != dataset.seed


def test_epochs_continue_the_sequence(server: str, drawn: np.ndarray) -> None:
    dataset = SampleDataset(50, batch_size=8, connect=server, model="tiny-vector", seed=5)
    found = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        found += [index for batch in batches(dataset, 2) for index in indices(batch, drawn)]
    assert found == list(range(100))


def test_the_rank_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (SampleDataset(1).rank, SampleDataset(1).world_size) == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    dataset = SampleDataset(N, batch_size=BATCH, seed=1)
    assert (dataset.rank, dataset.world_size) == (2, 3)
    assert sum(len(SampleDataset(N, batch_size=BATCH, seed=1, rank=r, world_size=3)) for r in range(3)) == 13


@pytest.fixture
def process_group(tmp_path: Any) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_the_process_group_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    dataset = SampleDataset(4)
    assert (dataset.rank, dataset.world_size) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n: is 0; expected at least 1"),
        ({"n": 4, "batch_size": 0}, "batch_size: is 0; expected at least 1"),
        ({"n": 4, "offset": -1}, "offset: is -1; expected at least 0"),
        ({"n": 4, "seed": 2**64}, "seed: is 18446744073709551616; expected at most"),
        ({"n": 4, "label": [1, 2]}, "label: is a sequence of 2; expected one label, or as many as n = 4"),
        ({"n": 4, "rank": 0}, "rank: is 0 and world_size is None; expected both or neither"),
        ({"n": 4, "rank": 2, "world_size": 2, "seed": 1}, "rank: is 2; expected at most 1"),
        ({"n": 4, "rank": 0, "world_size": 2}, "seed: is None with 2 ranks; expected one and the same in all"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{message}"):
        SampleDataset(**arguments)


def test_a_failure_in_a_worker_is_reported_with_its_cause(closed_port: str) -> None:
    dataset = SampleDataset(4, connect=partial(Client, closed_port, max_attempts=1))
    with pytest.raises(ServerUnavailable, match="no server answers at"):
        next(iter(dataset))
    with pytest.raises(Exception, match="no server answers at"):
        batches(dataset, 1)


def test_without_torch_it_says_how_to_install_it() -> None:
    code = """
import sys
sys.modules["torch"] = None  # as if it were not installed
try:
    import ganserve.data
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    expected = "MissingExtra ganserve.data needs torch, which is not installed: pip install 'ganserve[training]'\n"
    assert done.stdout == expected


def test_leaving_a_pass_early_ends_its_calls(server: str) -> None:
    import threading

    dataset = SampleDataset(10_000, batch_size=4, connect=server, model="tiny-vector", seed=5)
    passing = iter(dataset)
    assert len(next(passing)) == 4
    assert any(thread.name.startswith("ganserve-data") for thread in threading.enumerate())
    passing.close()  # type: ignore[attr-defined] - a generator
    assert not any(thread.name.startswith("ganserve-data") for thread in threading.enumerate())
