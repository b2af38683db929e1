"""Test that users' files which are damaged, or are not what they are called, end in one kind of error."""

import gzip
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from commands import ganserve
from ganserve_training.config import ArrayConfig, Cifar10Config, FolderConfig, IdxConfig, ParquetConfig
from ganserve_training.data import load_split
from ganserve_training.errors import CheckpointError, DataError, TrainingError
from ganserve_training.files import file_sha256
from ganserve_training.report.material import read_run
from ganserve_training.run.checkpoint import checkpoint_paths
from ganserve_training.run.run_folder import RunFolder
from ganserve_training.run.trained_model import load_trained
from image_files import encode, random_pixels, write_folder, write_idx

PIXELS = random_pixels(24)


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def npy(array: np.ndarray, header: bytes | None = None) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    data = stream.getvalue()
    return data if header is None else data[:8] + len(header).to_bytes(2, "little") + header + data[128:]


def flipped(data: bytes, *places: int) -> bytes:
    changed = bytearray(data)
    for place in places:
        changed[place] ^= 0xFF
    return bytes(changed)


HEADERS = (
    *(b"{'descr': '|u1', 'fortran_order': False, 'shape': (24, 8, 8, 3)", b"{'descr': '|u1'}\n", b"\xff\xfe\n"),
    *(b"{'descr': '|u1', 'fortran_order': False, 'shape': (10**18, 8, 8, 3), }\n", b"[1, 2]\n", b"nonsense(\n"),
    *(b"{'descr': 'O', 'fortran_order': False, 'shape': (24,), }\n", b"{'descr': 3, 'shape': 3, 'fortran_order': 1}\n"),
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 8, 3), }\n",
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (1152921504606846976, 1024, 8, 3), }\n",
)


@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_npy_files_that_lie(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(npy(PIXELS, header))
    np.save(tmp_path / "good.npy", PIXELS)
    with pytest.raises(DataError, match=r"x\.npy"):
        ArrayConfig(path=str(tmp_path / "x.npy")).load(None)
    with pytest.raises(DataError, match=r"x\.npy"):
        ArrayConfig(path=str(tmp_path / "good.npy"), labels_path=str(tmp_path / "x.npy")).load(None)


def test_compressed_arrays_that_are_damaged_anywhere(tmp_path: Path) -> None:
    whole = npz(images=PIXELS, labels=np.arange(24) % 2)
    random = np.random.default_rng(0)
    path = tmp_path / "x.npz"
    damaged = [whole[:cut] for cut in random.integers(0, len(whole) - 1, 20)]
    damaged += [flipped(whole, *random.integers(0, len(whole), 3)) for _ in range(60)]
    failures = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            load_split(ArrayConfig(path=str(path)), "train")
        except DataError as error:
            failures += 1
            assert "\n" not in str(error)  # noqa: PT017 - some of these files are still readable
    assert failures > 50


def test_arrays_that_are_called_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npz(images=PIXELS))
    assert len(ArrayConfig(path=str(tmp_path / "x.npy")).load(None)) == 24
    (tmp_path / "y.npy").write_bytes(npz(labels=np.arange(24)))
    (tmp_path / "x.npz").write_bytes(npy(PIXELS))
    with pytest.raises(DataError, match=r"y.npy is a .npz archive that is called .npy"):
        ArrayConfig(path=str(tmp_path / "x.npz"), labels_path=str(tmp_path / "y.npy")).load(None)
    assert len(ArrayConfig(path=str(tmp_path / "x.npz")).load(None)) == 24
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(TrainingError, match="must be a file"):
        ArrayConfig(path=str(tmp_path / "folder.npy")).load(None)


def test_label_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    labels = np.array([b"caf\xe9", b"tea"] * 12)
    (tmp_path / "x.npz").write_bytes(npz(images=PIXELS, labels=labels))
    with pytest.raises(DataError, match=r"x.npz \(labels\): can't be read as labels in UTF-8"):
        ArrayConfig(path=str(tmp_path / "x.npz")).load(None)
    (tmp_path / "x.npz").write_bytes(npz(images=PIXELS, labels=np.array([b"caf\xc3\xa9", b"tea"] * 12)))
    assert ArrayConfig(path=str(tmp_path / "x.npz")).load(None).info.label_names == ("café", "tea")


@pytest.mark.parametrize("content", [b"file,label\n1.png,caf\xe9\n", b"\xff\xfef\0i\0"])
def test_tables_of_labels_that_are_not_text(tmp_path: Path, content: bytes) -> None:
    write_folder(tmp_path, PIXELS[:2])
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.csv"):
        FolderConfig(path=str(tmp_path), labels_path=str(tmp_path / "labels.csv")).load(None)


def test_packed_idx_and_cifar_files_that_are_damaged(tmp_path: Path) -> None:
    whole = write_idx(tmp_path / "images.gz", PIXELS[..., 0]).read_bytes()
    random = np.random.default_rng(1)
    for _ in range(40):
        (tmp_path / "images.gz").write_bytes(flipped(whole, *random.integers(0, len(whole), 4)))
        with pytest.raises(DataError, match=r"images\.gz"):
            IdxConfig(path=str(tmp_path / "images.gz"), labels="ignore").load(None)
    (tmp_path / "images.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match="it has 0 bytes"):
        IdxConfig(path=str(tmp_path / "images.gz"), labels="ignore").load(None)
    record = np.zeros(3073, np.uint8)
    (tmp_path / "data_batch_1.bin").write_bytes(record.tobytes())
    (tmp_path / "batches.meta.txt").write_bytes(b"caf\xe9\n" * 10)
    with pytest.raises(DataError, match=r"batches.meta.txt: can't be read as text in UTF-8"):
        Cifar10Config(path=str(tmp_path)).load(None)


def test_parquet_pages_that_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"image": [encode(item) for item in PIXELS], "label": list("ab" * 12)})
    pq.write_table(table, path, row_group_size=8, compression="snappy")
    whole = path.read_bytes()
    middle = pq.ParquetFile(path).metadata.row_group(1).column(0)
    place = middle.dictionary_page_offset or middle.data_page_offset
    path.write_bytes(flipped(whole, *range(place, place + 40)))
    with pytest.raises(DataError, match=r"8 of 24 images can't be used:\n.*row 8: its row group 1 can't be read"):
        ParquetConfig(path=str(path)).load(None)
    assert len(ParquetConfig(path=str(path), on_bad_file="skip").load(None)) == 16
    labels = pq.ParquetFile(path).metadata.row_group(2).column(1)
    place = labels.dictionary_page_offset or labels.data_page_offset
    path.write_bytes(flipped(whole, *range(place, place + 10)))
    with pytest.raises(DataError, match=r"x.parquet: can't be read as a Parquet file with the column 'label'"):
        ParquetConfig(path=str(path)).load(None)
    random = np.random.default_rng(2)
    for _ in range(60):
        path.write_bytes(flipped(whole, *random.integers(0, len(whole), 3)))
        try:
            load_split(ParquetConfig(path=str(path), on_bad_file="skip"), "train")
        except DataError as error:
            assert "x.parquet" in str(error)  # noqa: PT017 - some of these files are still readable


# A run's folder


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small_run, tmp_path / "run")


def refused(*words: object) -> str:
    """Run a command that must fail, in one line, and return the line."""
    done = ganserve(*words)
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_empty_figures_do_not_stop_an_export(run: Path, tmp_path: Path) -> None:
    (run / "metrics.json").write_bytes(b"")
    exported = ganserve("export-onnx", run, "--out", tmp_path / "models" / "digits", "--generator-only")
    assert exported.returncode == 0, exported.stderr
    assert f"without the figures of `ganserve evaluate`: {run}/metrics.json: can't be read" in exported.stdout


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"metrics": 3}', b"\xff", b'{"checkpoint_sha256": 1}'])
def test_damaged_figures_do_not_stop_an_evaluation(run: Path, content: bytes) -> None:
    (run / "metrics.json").write_bytes(content)
    evaluated = ganserve("evaluate", run, "--metrics", "sliced-wasserstein", "-n", "100")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((run / "metrics.json").read_text())["metrics"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"steps": "many"}'])
def test_configurations_that_are_damaged(run: Path, content: bytes) -> None:
    (run / "config.json").write_bytes(content)
    assert "config.json: is not a ganserve configuration" in refused("report", run)
    assert "config.json: is not a ganserve configuration" in refused("train", "digits", "--out", run)


@pytest.mark.parametrize("name", ["log.jsonl", "observations.jsonl", "diagnosis.jsonl"])
def test_logs_that_are_damaged(run: Path, name: str) -> None:
    for content in (b"3\n", b"[]\n", b"{}\n", b'{"step": "x"}\n', b"\xff\n", b'{"step": 1, "k": 2}\n'):
        (run / name).write_bytes(content)
        if name != "log.jsonl" or b'"step": 1' not in content:  # The log may have any columns.
            with pytest.raises(DataError, match=name):
                read_run(RunFolder(run))


def edited(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the newest checkpoint by hand, and its digest with it."""
    path = checkpoint_paths(run / "checkpoints")[-1]
    state = torch.load(path, weights_only=True)
    changed = change(state)
    torch.save(state if changed is None else changed, path)
    path.with_name(path.name + ".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a list": lambda state: [state],
    "a tensor": lambda state: torch.zeros(3),
    "no configuration": lambda state: state.pop("config") and None,
    "no data": lambda state: state.pop("data") and None,
    "no weights": lambda state: state.pop("ema") and None,
    "other data": lambda state: state.update(data={"sample_shape": 3}),
    "more data": lambda state: state.update(data={**state["data"], "colour": ["red"]}),
    "a list as data": lambda state: state.update(data=[1, 2]),
    "text as step": lambda state: state.update(step="seven hundred"),
    "a wrong option": lambda state: state["config"].update(steps="many"),
    "an unknown option": lambda state: state["config"].update(colour="red"),
    "a list as configuration": lambda state: state.update(config=[1]),
    "a weight of another shape": lambda state: state["ema"].update({next(iter(state["ema"])): torch.zeros(2, 2)}),
    "a weight too many": lambda state: state["critic"].update(extra=torch.zeros(2)),
    "a list as weights": lambda state: state.update(critic=[1]),
    "a diagnosis without parts": lambda state: state.update(diagnosis={"stopped_after": 0}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_checkpoints_that_were_changed_by_hand(run: Path, change: str) -> None:
    edited(run, CHANGES[change])
    with pytest.raises(CheckpointError) as caught:  # Of export and evaluation.
        load_trained(run)
    assert "\n" not in str(caught.value)
    read_run(RunFolder(run))  # A report shows what it can read.


def test_a_checkpoint_that_was_changed_by_hand_is_one_line_of_each_command(run: Path, tmp_path: Path) -> None:
    edited(run, CHANGES["a wrong option"])
    for words in (("evaluate", run), ("export-onnx", run, "--out", tmp_path / "models" / "digits")):
        assert "holds no usable configuration. steps 'many': must be of type int." in refused(*words)
    done = ganserve("report", run)
    assert done.returncode == 0, done.stderr


def test_checkpoints_with_code_in_them_are_not_run(run: Path) -> None:
    path = checkpoint_paths(run / "checkpoints")[-1]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("step/data.pkl", b"cos\nabort\n(tR.")
    path.with_name(path.name + ".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")
    with pytest.raises(CheckpointError, match="all 1 checkpoints"):
        load_trained(run)
