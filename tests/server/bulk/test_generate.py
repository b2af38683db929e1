"""Test `ganserve generate`: which samples it writes, and what interrupts, repeats or changes a job."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from commands import ganserve, said
from ganserve import Client
from ganserve.v1 import gan_service_pb2
from ganserve_server.bulk.store import FolderStore
from in_core import core
from repositories import wait_for
from stubs import to_array
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def generate(repository: Path, out: object, *words: object, model: str = "tiny", count: int = 50) -> str:
    return said("generate", "--models", repository, "--model", model, "-n", count, "--out", out, *words)


def refusal(
    repository: Path, out: object, *words: object, model: str = "tiny", count: object = 50, code: int = 2
) -> str:
    done = ganserve("generate", "--models", repository, "--model", model, "-n", count, "--out", out, *words)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("ganserve generate: error: "), done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("ganserve generate: error: ").strip()


def answer(repository: Path, **fields: Any) -> gan_service_pb2.SampleResponse:
    """Return what the server answers to a request."""
    with core(repository) as gan:
        return asyncio.run(gan.sample(gan_service_pb2.SampleRequest(**fields)))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(files: Sequence[bytes]) -> np.ndarray:
    arrays = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    return np.stack([array[..., None] if array.ndim == 2 else array for array in arrays])


def read_samples(folder: Path, form: str) -> tuple[np.ndarray, list[int], list[float]]:
    """Return images, labels and scores as other programs read them."""
    if form == "parquet":
        rows = pq.read_table(folder).sort_by("index").to_pylist()
        return (
            pixels([row["image"]["bytes"] for row in rows]),
            [row["label"] for row in rows],
            [row["score"] for row in rows],
        )
    if form == "webdataset":
        found: dict[str, bytes] = {}
        for path in sorted(folder.glob("*.tar")):
            with tarfile.open(path) as archive:
                found |= {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        names = sorted({name.partition(".")[0] for name in found})
        facts = [json.loads(found[f"{name}.json"]) for name in names]
        images = pixels([found[f"{name}.png"] for name in names])
        return images, [int(found[f"{name}.cls"]) for name in names], [fact["score"] for fact in facts]
    lines = [
        (table.parent, row)
        for table in sorted(folder.glob("*/metadata.csv"))
        for row in csv.DictReader(table.read_text().splitlines())
    ]
    images = pixels([(place / row["file_name"]).read_bytes() for place, row in lines])
    return images, [int(row["label"]) for _, row in lines], [float(row["score"]) for _, row in lines]


@pytest.mark.parametrize("form", ["parquet", "webdataset", "png"])
@pytest.mark.parametrize("select", [(), ("--select", "best-of:3")], ids=["drawn", "selected"])
def test_shards_hold_the_samples_of_the_server(
    repository: Path, tmp_path: Path, form: str, select: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    options = ("--format", form, "--seed", 5, "--offset", 7, "--truncation", 0.8, "--scores", "--shard-size", 20)
    generate(repository, out, *options, "--label", "two", "--label", 0, *select)
    chosen = gan_service_pb2.Selection(method=gan_service_pb2.SELECTION_METHOD_BEST_OF_N, max_proposals_per_sample=3)
    expected = answer(
        repository,
        model="tiny",
        count=50,
        seed=5,
        offset=7,
        truncation=0.8,
        label_indices=[2, 0] * 25,
        return_scores=True,
        selection=chosen if select else None,
    )
    images, labels, scores = read_samples(out, form)
    assert np.array_equal(images, to_array(expected.samples.tensor))
    assert labels == [2, 0] * 25
    assert scores == list(expected.scores)


@pytest.mark.parametrize("encoding", ["png", "jpeg", "webp"])
def test_each_picture_can_be_verified(repository: Path, tmp_path: Path, encoding: str) -> None:
    generate(repository, tmp_path / "out", "--seed", 5, "--encoding", encoding)
    files = [row["image"]["bytes"] for row in pq.read_table(tmp_path / "out").sort_by("index").to_pylist()]
    with Client.local(repository) as client:
        found = [client.verify(files[place]) for place in (0, 17, 49)]
    assert {verdict.likeness for verdict in found} <= {"exact", "near"}
    assert [verdict.indices[0] for verdict in found] == [0, 17, 49]
    generate(repository, tmp_path / "bare", "--seed", 5, "--encoding", encoding, "--no-mark")
    bare = pq.read_table(tmp_path / "bare").sort_by("index").to_pylist()[0]["image"]["bytes"]
    assert b"trainedAlgorithmicMedia" in files[0]
    assert b"trainedAlgorithmicMedia" not in bare
    assert np.array_equal(pixels([bare]), pixels(files[:1]))


def test_labels_are_drawn_or_of_a_file(repository: Path, tmp_path: Path) -> None:
    expected = answer(repository, model="tiny", count=50, seed=5)
    generate(repository, tmp_path / "drawn", "--seed", 5, "--scores")
    assert read_samples(tmp_path / "drawn", "parquet")[1] == list(expected.label_indices)
    np.save(tmp_path / "labels.npy", np.array(expected.label_indices, np.uint8))
    (tmp_path / "labels.txt").write_text("\n".join(expected.label_names))
    for file in ("labels.npy", "labels.txt"):
        generate(repository, tmp_path / file[7:], "--seed", 5, "--scores", "--labels", tmp_path / file)
        images, labels, _ = read_samples(tmp_path / file[7:], "parquet")
        assert labels == list(expected.label_indices)
        assert np.array_equal(images, to_array(expected.samples.tensor))


def test_vectors_controls_and_latents(repository: Path, tmp_path: Path) -> None:
    generate(repository, tmp_path / "vectors", "--seed", 5, "--latents", model="tiny-vector")
    table = pq.read_table(tmp_path / "vectors")
    expected = answer(repository, model="tiny-vector", count=50, seed=5, return_latents=True)
    assert np.array_equal(np.stack(table["sample"].to_numpy()), to_array(expected.samples.tensor))
    assert np.array_equal(np.stack(table["latent"].to_numpy()), to_array(expected.latents))
    generate(repository, tmp_path / "codes", "--seed", 5, "--control", "c0=0.5", "--latents", model="tiny-codes")
    latents = np.stack(pq.read_table(tmp_path / "codes")["latent"].to_numpy())
    assert (latents[:, -1] == 0.5).all()
    assert len(np.unique(latents[:, 0])) == 50


def test_raw_pixels(repository: Path, tmp_path: Path) -> None:
    expected = to_array(answer(repository, model="tiny-rgb", count=50, seed=5).samples.tensor)
    generate(repository, tmp_path / "table", "--seed", 5, "--encoding", "raw", model="tiny-rgb")
    rows = np.stack(pq.read_table(tmp_path / "table")["sample"].to_numpy())
    assert np.array_equal(rows.reshape(expected.shape), expected)
    (table,) = (tmp_path / "table").glob("*.parquet")
    columns = [pq.read_metadata(table).row_group(0).column(place) for place in range(3)]
    (samples,) = (column for column in columns if column.path_in_schema.startswith("sample"))
    assert "BYTE_STREAM_SPLIT" in samples.encodings
    assert {column.path_in_schema for column in columns if column.is_stats_set} == {"index", "label"}
    generate(repository, tmp_path / "tar", "--seed", 5, "--encoding", "raw", "--format", "webdataset", model="tiny-rgb")
    with tarfile.open(tmp_path / "tar" / "samples-00000-of-00001.tar") as archive:
        file = archive.extractfile("000000000049.npy")
        assert file is not None
        assert np.array_equal(np.load(io.BytesIO(file.read())), expected[49])


@pytest.mark.parametrize("form", ["parquet", "webdataset", "png"])
def test_a_shard_that_is_made_again_has_the_same_bytes(repository: Path, tmp_path: Path, form: str) -> None:
    options = ("--format", form, "--shard-size", 20, "--scores")
    generate(repository, tmp_path / "out", *options)
    before = files_of(tmp_path / "out")
    shard = sorted((tmp_path / "out").glob("samples-*"))[1]
    if form == "png":
        (shard / "metadata.csv").unlink()  # as if the upload of a folder had stopped
    else:
        shard.unlink()
    (tmp_path / "out" / f".{shard.name}.0123.part").write_bytes(b"of a killed process")
    again = generate(repository, tmp_path / "out", *options)  # with the seed that the job keeps
    assert "made 20 in" in again
    assert "2 shards were there" in again
    assert files_of(tmp_path / "out") == before
    assert generate(repository, tmp_path / "out", *options).endswith("3 shards already\n")


LARGE = TinyModel(shape=(64, 64, 3), label_names=())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_stopped_job_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    build_tiny_package(tmp_path / "models", model=LARGE)
    words = ["generate", "--models", tmp_path / "models", "-n", 4000, "--seed", 3, "--shard-size", 200, "--out"]
    command = [sys.executable, "-m", "ganserve", *map(str, words), str(tmp_path / "stopped")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        wait_for(lambda: len([*tmp_path.glob("stopped/samples-*")]) >= 2, "two shards")
        process.send_signal(number)
        assert process.stderr is not None
        errors = process.stderr.read()
    there = files_of(tmp_path / "stopped")
    assert 2 <= sum(name.startswith("samples-") for name in there) < 20, "the job ended before the signal"
    if number == signal.SIGINT:
        assert process.returncode == 130
        again = "stopped. Run the same command again to continue: finished shards stay."
        assert errors == f"ganserve generate: {again}\n"
        assert not [name for name in there if name.startswith(".")]
    said(*words, tmp_path / "stopped")
    said(*words, tmp_path / "whole")
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changed", "said_so"),
    [
        (("--seed", 6), "seed 5 (now 6)"),
        (("-n", 60), "count 50 (now 60)"),
        (("--label", "one"), "labels none (now ['one'])"),
        (("--format", "webdataset"), "format parquet (now webdataset)"),
        (("--truncation", 0.5), "truncation none (now 0.5)"),
        (("--model", "tiny-rgb"), "model tiny (now tiny-rgb)"),
        (("--version", 1), "version 2 (now 1)"),
    ],
)
def test_a_changed_request_is_refused(
    repository: Path, tmp_path: Path, changed: tuple[object, ...], said_so: str
) -> None:
    generate(repository, tmp_path, "--seed", 5)
    before = files_of(tmp_path)
    assert said_so in refusal(repository, tmp_path, "--seed", 5, *changed)
    assert files_of(tmp_path) == before


def test_a_changed_package_is_refused(tmp_path: Path) -> None:
    models = tmp_path / "models"
    build_tiny_package(models)
    generate(models, tmp_path / "out")
    manifest = models / "tiny" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert "package_sha256 " in refusal(models, tmp_path / "out")


def test_places_of_others_are_refused(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "holds other files, such as notes.txt" in refusal(repository, tmp_path)
    (tmp_path / "_job.json").write_text("{}")
    assert "its _job.json is damaged" in refusal(repository, tmp_path)
    assert "Not a directory" in refusal(repository, tmp_path / "notes.txt" / "out")
    assert "File exists" in refusal(repository, tmp_path / "notes.txt")


def test_only_one_process_writes(repository: Path, tmp_path: Path) -> None:
    with FolderStore(tmp_path).locked():
        assert f"process {os.getpid()} writes there" in refusal(repository, tmp_path, code=1)
    generate(repository, tmp_path)


def test_a_full_disk_is_said_and_loses_nothing(repository: Path, tmp_path: Path) -> None:
    """A limit of the size of files stands for a disk; the first shards are smaller than the last one."""
    script = (
        "import resource, sys; from ganserve._commands import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)); sys.exit(main(sys.argv[1:]))"
    )
    words = ["generate", "--models", repository, "--model", "tiny", "-n", "500", "--seed", "1", "--out", tmp_path]
    full = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, check=False, timeout=120
    )
    assert full.returncode == 1
    assert re.fullmatch(
        r"ganserve generate: error: --out \S+: File too large\. Make it a folder with .+\n", full.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["_job.json"]
    said(*words)
    assert pq.read_table(tmp_path).num_rows == 500


def test_urls(repository: Path, tmp_path: Path) -> None:
    import fsspec

    folder = tmp_path / "folder"
    for form in ("parquet", "png"):
        options = ("--seed", 5, "--shard-size", 20, "--format", form)
        generate(repository, folder / form, *options)
        url = f"memory://{tmp_path.name}/{form}"
        generate(repository, url, *options)
        memory = fsspec.filesystem("memory")
        stored = {
            path.removeprefix(f"/{tmp_path.name}/{form}/"): memory.cat_file(path)
            for path in memory.find(f"/{tmp_path.name}/{form}")
        }
        assert stored == files_of(folder / form)
        assert "already" in generate(repository, url, *options)
        assert "seed 5 (now 6)" in refusal(repository, url, "--shard-size", 20, "--format", form, "--seed", 6)
    assert "nosuch://x: " in refusal(repository, "nosuch://x")


@pytest.mark.parametrize(
    ("words", "said_so"),
    [
        (("-n", 0), "--count 0: must be 1 to 2^48."),
        (("-n", 10**15), "--count 1000000000000000: must be 1 to 2^48."),
        (("--offset", -1), "--offset -1: must be 0 to 2^48 less --count."),
        (("--seed", 2**64), f"--seed {2**64}: must be 0 to 2^64 - 1."),
        (("--shard-size", -1), "--shard-size -1: must be at least 1, or 0 to choose for you."),
        (("-n", 10**9, "--shard-size", 1), "--shard-size 1: makes more than 1,000,000 shards. Give 1,000."),
        (
            ("--label", "nine"),
            "--label nine: not a label of model 'tiny', which has zero, one, two. Name one of these.",
        ),
        (("--select", "best:2"), "--select best:2: not a rule. Give best-of:N or rejection:N, N in 1 to 1024."),
        (("--control", "c0"), "--control c0: not NAME=FLOAT. Write it like c0=0.5."),
        (("--control", "c0=1"), "model 'tiny' has no controls (got 'c0'): leave them out"),
        (("--truncation", -1), "--truncation: is -1.0; expected a finite number above 0, or none for no truncation"),
        (("--format", "png", "--encoding", "jpeg"), "--encoding jpeg: cannot go with --format png. Leave it out."),
        (("--model", "tiny-vector", "--format", "png"), "--format png: model 'tiny-vector' makes vectors."),
        (("--model", "tiny-unconditional", "--label", "1"), "--label 1: model 'tiny-unconditional' is unconditional"),
        (("--model", "tiny-uncritical", "--scores"), "has no critic and cannot score"),
        (("--model", "other"), "--model other: not in "),
        (("--version", 9), "--version 9: model tiny has 1, 2. Give one of these."),
        (("--labels", "missing.npy"), "--labels missing.npy: No such file or directory."),
        (("--models", "nowhere"), "--models nowhere: there is no such folder"),
        (("--out", ""), "--out: is empty. Give a folder or a URL."),
        (("--label", ""), "--label '': not a label of model 'tiny'"),
        (("--out", "file://localhost/x"), "--out file://localhost/x: has no whole path. Write it like file:///data,"),
        (("--out", "-"), "--out -: standard streams cannot be used. Give a folder or a URL."),
        (("--ray-cpus", 0), "--ray-cpus 0: must be at least 1."),
        (("--ray-gpus", 1.5), "--ray-gpus 1.5: must be a whole number above 1. Give 1, 2 or more."),
    ],
)
def test_bad_input_is_named(repository: Path, tmp_path: Path, words: tuple[object, ...], said_so: str) -> None:
    out = tmp_path / "out"
    assert said_so in refusal(repository, out, *words)
    assert not out.exists() or not [*out.iterdir()]


def test_a_missing_library_is_named(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library, what in (("pyarrow", "--format parquet:"), ("deflate", "--encoding png:")):
        found = {"pyarrow": True, "deflate": True, library: None}
        monkeypatch.setattr("ganserve_server.bulk.libraries.find_spec", found.get)
        said_so = f"{what} needs {library}, which is not installed. Run pip install 'ganserve[bulk]'."
        assert refusal(repository, tmp_path / "out") == said_so
        assert not [*(tmp_path / "out").iterdir()]
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert "URLs need fsspec, which is not installed" in refusal(repository, "memory://x")
    if find_spec("ray") is None:
        assert "--ray auto: needs ray, which is not installed" in refusal(repository, tmp_path / "out", "--ray", "auto")


def test_label_files_are_checked(repository: Path, tmp_path: Path) -> None:
    def refused(content: object) -> str:
        file = tmp_path / ("labels.npy" if isinstance(content, np.ndarray) else "labels.txt")
        np.save(file, content) if isinstance(content, np.ndarray) else file.write_text(str(content))
        return refusal(repository, tmp_path / "out", "--labels", file).partition(": ")[2]

    assert refused(np.zeros(49, np.int64)) == "has 49 labels, and --count is 50. Make them the same."
    assert refused(np.zeros(50)) == "has float64 [50]. Give whole numbers [N]."
    assert refused(np.full(50, 3)) == "entry 0 is 3. Labels of 'tiny' are 0 to 2."
    assert refused("zero\nnone\n").startswith("line 2 is 'none', not a label of model 'tiny'")
    assert refused("") == "has 0 labels, and --count is 50. Make them the same."


@pytest.mark.slow
def test_training_reads_what_generate_writes(repository: Path, tmp_path: Path) -> None:
    from ganserve_training.config import ParquetConfig

    generate(repository, tmp_path, "--seed", 5, "--shard-size", 20)
    images = ParquetConfig(path=str(tmp_path)).load(None)
    assert len(images) == 50
    assert images.label_names == ("zero", "one", "two")
