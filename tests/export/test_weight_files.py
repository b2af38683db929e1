"""Files of weights are read without running anything of them, and refused by name if they hold anything else."""

import builtins
import collections
import io
import os
import pickle
import struct
import subprocess
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganserve_export.errors import ExportError
from ganserve_export.from_weights import pickle_machine, records
from ganserve_export.from_weights.read_file import read_file
from ganserve_export.from_weights.records import tensors_of_dictionary, tensors_of_module
from persisted_modules import network_pickle, random_tensors

PROTO = b"\x80\x04"


@pytest.mark.parametrize("protocol", range(6))
def test_modules_with_source_code_are_read_without_running_it(tmp_path: Path, protocol: int) -> None:
    expected = random_tensors()
    size = np.float32(1.5)
    file = network_pickle(
        expected, None, tmp_path, protocol=protocol, settings={"z_dim": 4, "gain": size, "kinds": {1}}
    )
    content = read_file(file)
    found = tensors_of_module(content["G_ema"])
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    assert content["G_ema"].state["z_dim"] == 4
    assert content["G_ema"].state["gain"] == 1.5
    assert content["training_set_kwargs"]["resolution"] == 8
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("is_zip", [True, False])
def test_checkpoints_with_arguments_beside_tensors_are_read(tmp_path: Path, is_zip: bool) -> None:
    expected = collections.OrderedDict(random_tensors())
    file = tmp_path / "000100.pt"
    arguments = Namespace(iter=100, path="data", size=256)
    whole = {"g_ema": expected, "args": arguments, "ada_aug_p": 0.5, "order": np.arange(6.0).reshape(2, 3).T}
    torch.save(whole, file, _use_new_zipfile_serialization=is_zip)
    content = read_file(file)
    found = tensors_of_dictionary(content["g_ema"])
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert content["args"].state["size"] == 256
    assert torch.equal(content["order"].tensor(), torch.arange(6.0).double().reshape(2, 3).T)


class _Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


CALLS = {
    r"posix\.system": _Call(os.system, "touch ran"),
    r"(builtins|__builtin__)\.eval": _Call(builtins.eval, "open('ran', 'w')"),
    r"(builtins|__builtin__)\.getattr": _Call(getattr, _Call(__import__, "os"), "system"),
    r"(builtins|__builtin__)\.__import__": _Call(__import__, "os"),
    r"(subprocess|commands)\.Popen": _Call(subprocess.Popen, ["touch", "ran"]),
    r"torch\.serialization\.load": _Call(torch.load, "other.pt"),
    r"torch\.jit\._serialization\.load": _Call(torch.jit.load, "other.pt"),
    r"numpy(\.lib\._npyio_impl)?\.load": _Call(np.load, "other.npy"),
    r"_?pickle\.loads": _Call(pickle.loads, b"cos\nsystem\n(S'touch ran'\ntR."),
    r"(builtins|__builtin__)\.print": {"g_ema": {"weight": [(_Call(print, "hello"),)]}},
}


SYSTEM = CALLS[r"posix\.system"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", CALLS)
def test_any_other_name_is_refused_by_name(tmp_path: Path, name: str, protocol: int) -> None:
    file = tmp_path / "network.pkl"
    file.write_bytes(pickle.dumps(CALLS[name], protocol=protocol))
    with pytest.raises(ExportError, match=rf"asks for {name}, .*ran no code of this file"):
        read_file(file)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("is_zip", [True, False])
def test_names_in_checkpoints_and_in_storages_are_refused_too(tmp_path: Path, is_zip: bool) -> None:
    file = tmp_path / "model.pt"
    torch.save({"g_ema": {"w": torch.ones(3)}, "x": SYSTEM}, file, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ExportError, match=r"posix\.system"):
        read_file(file)
    stream = io.BytesIO()
    torch.save(SYSTEM, stream, _use_new_zipfile_serialization=False)
    file.write_bytes(pickle.dumps(_Call(torch.storage._load_from_bytes, stream.getvalue())))
    with pytest.raises(ExportError, match=r"posix\.system"):
        read_file(file)


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


TENSOR = _named("torch._utils", "_rebuild_tensor_v2")
HOSTILE = {
    "extension code": (b"\x80\x02\x82\x01.", "extension code of copyreg"),
    "persistent ID": (b"Pabc\n.", "begins like neither|persistent ID"),
    "binary persistent ID": (PROTO + b"K\x01Q.", "persistent ID"),
    "buffer outside": (b"\x80\x05\x97.", "data from outside"),
    "newer protocol": (b"\x80\x09.", "protocol 9"),
    "call of text": (PROTO + _text("os.system") + _text("ls") + b"\x85R.", "calls a str"),
    "call of a storage": (PROTO + _named("torch", "FloatStorage") + b")R.", "calls FloatStorage"),
    "class with arguments": (PROTO + _named("torch", "FloatStorage") + b")}\x92.", "calls FloatStorage"),
    "object of a result": (PROTO + _named("collections", "OrderedDict") + b")R)R.", "calls a dict"),
    "instance": (b"(S'ls'\nios\nsystem\n.", "os.system"),
    "state of a number": (PROTO + b"K\x01}b.", "changes a int"),
    "items of a list": (PROTO + b"]K\x01K\x02s.", "sets items of a list"),
    "append to a dictionary": (PROTO + b"}K\x01a.", "appends to a dict"),
    "tuple as a key": (PROTO + b"}K\x01\x85K\x01s.", "a tuple as a key"),
    "huge text": (PROTO + b"\x8d" + struct.pack("<Q", 1 << 60) + b"abc.", "damaged or cut off"),
    "huge bytes": (PROTO + b"\x8e" + struct.pack("<Q", 1 << 62) + b"abc.", "damaged or cut off"),
    "huge bytearray": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"abc.", "damaged or cut off"),
    "huge frame": (PROTO + b"\x95" + struct.pack("<Q", 1 << 62) + b"N", "damaged or cut off"),
    "huge memo": (PROTO + b"Nr\xff\xff\xff\xff" + b"j\xfe\xff\xff\xff.", "damaged or cut off"),
    "far memo": (b"(dp" + b"9" * 4000 + b"\n.", "damaged or cut off"),
    "long number": (PROTO + b"\x8b" + struct.pack("<i", 1 << 30) + b"\x01.", "damaged or cut off"),
    "empty stack": (PROTO + b"R.", "damaged or cut off"),
    "mark as a value": (PROTO + b"(.", "damaged or cut off"),
    "unknown operation": (PROTO + b"\xff.", "damaged or cut off"),
    "no end": (PROTO + b"}", "damaged or cut off"),
    "only a protocol": (PROTO, "damaged or cut off"),
    "storage from text": (
        PROTO + _named("torch.storage", "_load_from_bytes") + _text("abc") + b"\x85R.",
        "a tensor in an unknown form",
    ),
    "tensor of nothing": (PROTO + TENSOR + b"(NK\x00K\x02\x85K\x01\x85\x89NtR.", "a tensor that can't exist"),
    "array of objects": (
        PROTO + _named("numpy", "dtype") + _text("O8") + b"\x85R\x94" + _named("numpy._core.multiarray", "_reconstruct")
        + b")R(K\x01K\x02\x85h\x00\x89]tb.",
        "not a Generator|no StyleGAN2|holds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind != "array of objects"])
def test_hostile_pickles_are_refused(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "network.pkl"
    file.write_bytes(HOSTILE[kind][0])
    with pytest.raises(ExportError, match=HOSTILE[kind][1]) as refused:
        read_file(file)
    assert str(file) in str(refused.value)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "network.pkl"
    file.write_bytes(HOSTILE["array of objects"][0])
    with pytest.raises(ExportError, match="'O8', not numbers"):
        read_file(file).tensor()


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (1 << 39,), (0,)), (0, (4,), (1 << 30,)), (2, (2,), (1,)), (0, (1 << 50, 1), (1, 1)), (-1, (1,), (1,))],
)
def test_tensors_beyond_their_storage_are_refused(tmp_path: Path, offset: int, size: Any, stride: Any) -> None:
    storage = torch.zeros(3).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    file = tmp_path / "network.pkl"
    tensor = _Call(torch._utils._rebuild_tensor_v2, typed, offset, size, stride, False, collections.OrderedDict())
    file.write_bytes(pickle.dumps({"G_ema": tensor}))
    with pytest.raises(ExportError, match=r"describes a tensor"):
        read_file(file)


def test_operations_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred megabytes of empty lists would otherwise fill 60 times as much memory."""
    file = tmp_path / "network.pkl"
    monkeypatch.setattr(pickle_machine, "MAX_OPERATIONS", 9_000)
    file.write_bytes(PROTO + b"]" * 9_000 + b".")
    with pytest.raises(ExportError, match="more than 9,000 operations"):
        read_file(file)


def test_weights_of_one_storage_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand names of one storage are a thousand copies when they are read."""
    monkeypatch.setattr(records, "_MAX_BYTES", 100_000)
    one = torch.zeros(1000)
    file = tmp_path / "model.pt"
    torch.save({"g_ema": {str(index): one for index in range(1000)}}, file)
    with pytest.raises(ExportError, match="more than 100,000 bytes of weights"):
        tensors_of_dictionary(read_file(file)["g_ema"])


def test_shared_and_circular_values_take_no_time(tmp_path: Path) -> None:
    """Each of 60 lists holds the one before it twice: 2^60 values for code that walks them."""
    content = b"\x80\x04]\x94"
    for place in range(60):
        content += b"0](h" + bytes([place]) + b"h" + bytes([place]) + b"e\x94"
    file = tmp_path / "network.pkl"
    file.write_bytes(content + b".")
    assert len(read_file(file)) == 2
    cycle: dict[str, Any] = {}
    cycle["g_ema"] = cycle
    file.write_bytes(pickle.dumps(cycle))
    assert list(read_file(file)) == ["g_ema"]


@pytest.mark.parametrize("is_zip", [True, False])
def test_every_cut_of_a_file_is_refused(tmp_path: Path, is_zip: bool) -> None:
    whole = tmp_path / "whole.pt"
    torch.save({"g_ema": {"weight": torch.arange(5.0)}}, whole, _use_new_zipfile_serialization=is_zip)
    content = whole.read_bytes()
    cut = tmp_path / "cut.pt"
    for length in range(0, len(content), 7):
        cut.write_bytes(content[:length])
        with pytest.raises(ExportError):
            tensors_of_dictionary(read_file(cut)["g_ema"])


def test_every_cut_of_a_network_pickle_is_refused(tmp_path: Path) -> None:
    content = network_pickle(random_tensors(), None, tmp_path).read_bytes()
    cut = tmp_path / "cut.pkl"
    for length in range(0, len(content), 29):
        cut.write_bytes(content[:length])
        with pytest.raises(ExportError):
            read_file(cut)


def _rewritten(path: Path, out: Path, change: Callable[[zipfile.ZipInfo, bytes], bytes], compression: int) -> None:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry, old.read(entry)))


def test_zip_bombs_and_foreign_archives_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.pt"
    torch.save({"g_ema": {"weight": torch.zeros(100)}}, good)
    file = tmp_path / "model.pt"
    bomb = b"\0" * 50_000_000
    _rewritten(good, file, lambda entry, data: bomb if "/data/" in entry.filename else data, zipfile.ZIP_DEFLATED)
    with pytest.raises(ExportError, match="is compressed or encrypted"):
        read_file(file)
    _rewritten(good, file, lambda entry, data: data[:8] if "/data/" in entry.filename else data, zipfile.ZIP_STORED)
    with pytest.raises(ExportError, match="has 8 bytes for 100 values"):
        read_file(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/code/__torch__.py", "")
        archive.writestr("model/data.pkl", "")
    with pytest.raises(ExportError, match="TorchScript"):
        read_file(file)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100, b"PK\x03\x04", b"\x89PNG\r\n\x1a\n"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "network.pkl"
    file.write_bytes(content)
    words = r"it is empty|it begins like neither|damaged or cut off.*Download or copy it again"
    with pytest.raises(ExportError, match=words):
        read_file(file)
    with pytest.raises(ExportError, match="No such file"):
        read_file(tmp_path / "absent.pkl")
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ExportError, match="is not a file"):
            read_file(other)


def test_pickles_of_tensorflow_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "stylegan2-ffhq-config-f.pkl"
    file.write_bytes(PROTO + _named("dnnlib.tflib.network", "Network") + b")\x81}b.")
    with pytest.raises(ExportError, match=r"older code for TensorFlow.*legacy\.py"):
        read_file(file)


def test_random_changes_of_bytes_run_nothing(tmp_path: Path) -> None:
    """Whatever a byte is changed to, the file is read or refused."""
    content = network_pickle(random_tensors(), None, tmp_path).read_bytes()
    random = np.random.default_rng(0)
    file = tmp_path / "changed.pkl"
    for _ in range(100):
        changed = bytearray(content)
        changed[int(random.integers(len(changed)))] = int(random.integers(256))
        file.write_bytes(changed)
        try:
            value = read_file(file)
            if isinstance(value, dict) and "G_ema" in value:
                tensors_of_module(value["G_ema"])
        except ExportError:
            continue
    assert not (tmp_path / "ran").exists()
