"""Test bulk jobs on a real Ray cluster of two nodes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pyarrow.parquet as pq
import pytest

from commands import ganserve, said
from ray_cluster import needs_ray
from repositories import wait_for
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, needs_ray]
LARGE = TinyModel(shape=(64, 64, 3), label_names=())


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shards_and_scores_are_those_of_one_machine(cluster: str, repository: Path, tmp_path: Path) -> None:
    """A job that began on one machine goes on there."""
    words = (
        "generate",
        "--models",
        repository,
        "--model",
        "tiny",
        "-n",
        60,
        "--seed",
        5,
        "--scores",
        "--out",
        tmp_path,
    )
    words += ("--out", tmp_path, "--shard-size", 20, "--label", "two", "--label", "zero", "--select", "best-of:2")
    said(*words)
    before = files_of(tmp_path)
    for number in (0, 2):
        (tmp_path / f"samples-0000{number}-of-00003.parquet").unlink()
    assert "made 40 in" in said(*words, "--ray", cluster)
    assert files_of(tmp_path) == before
    out = tmp_path / "scores"
    said("score-bulk", tmp_path, "--models", repository, "--model", "tiny", "--out", out, "--ray", cluster)
    scores, drawn = (pq.read_table(sorted(folder.glob("*.parquet")))["score"] for folder in (out, tmp_path))
    assert scores == drawn


def test_a_lost_worker_costs_nothing(cluster: str, tmp_path: Path) -> None:
    build_tiny_package(tmp_path / "models", model=LARGE)
    words = ["generate", "--models", tmp_path / "models", "-n", 4000, "--seed", 3, "--shard-size", 200, "--out"]
    command = [sys.executable, "-m", "ganserve", *map(str, words), str(tmp_path / "there"), "--ray", cluster]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: len([*tmp_path.glob("there/samples-*")]) >= 2, "two shards", patience_s=240)
        workers = [
            each
            for each in psutil.process_iter(["cmdline"])
            if "MapWorker(MapBatches(_ShardMaker))" in " ".join(each.info["cmdline"] or [])
        ]
        os.kill(workers[0].pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    said(*words, tmp_path / "here")
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")


def test_the_reason_of_a_worker_that_cannot_start_is_its_own() -> None:
    from ganserve_server.ray.bulk import _reason

    text = "The actor died because of an error raised in its creation task,\n  File x\n"
    said_so = "--out /there: a machine of the cluster does not see the job there"
    assert _reason(RuntimeError(f"{text}ganserve_server.errors.BulkError: {said_so}.\n")) == said_so


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1"])
def test_a_cluster_that_does_not_answer_is_refused_at_once(repository: Path, tmp_path: Path, address: str) -> None:
    """Ray itself would try for many minutes."""
    out = tmp_path / "out"
    done = ganserve("generate", "--models", repository, "--model", "tiny", "-n", 60, "--out", out, "--ray", address)
    assert done.returncode == 1
    assert re.fullmatch(
        rf"ganserve generate: error: --ray {re.escape(address)}: .+\. Start a cluster with `ray start --head`, or give "
        "the address of one.\n",
        done.stderr,
    )
    assert not out.exists()


def test_refusals(cluster: str, repository: Path, tmp_path: Path) -> None:
    words = ("generate", "--models", repository, "--model", "tiny", "-n", 60, "--out", tmp_path / "out", "--ray")
    for more, said_so in [
        # Four CPUs in all, but two on each machine: a worker of three would never start.
        ((cluster, "--ray-cpus", 3), "--ray-cpus 3: no machine of the cluster has more than 2. Ask for less."),
        ((cluster, "--ray-gpus", 1), "--ray-gpus 1: no machine of the cluster has more than 0. Ask for less."),
        ((cluster, "--label", "x"), "--label x: not a label of model 'tiny'"),
    ]:
        done = ganserve(*words, *more)
        assert done.returncode in (1, 2)
        assert said_so in done.stderr
        assert done.stderr.count("\n") == 1
