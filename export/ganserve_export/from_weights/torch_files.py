"""Read files of torch.save, of both of its formats, and storages inside other pickles; nothing in them is run."""

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from ganserve_export.from_weights.pickle_machine import (
    Budget,
    Known,
    PickleMachine,
    RefusedPickleError,
    Source,
    known_by_name,
)
from ganserve_export.from_weights.tensor_values import STORAGES, Storage, storage_names

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
"""The first value of torch's older format."""
_MAX_ENTRIES = 100_000


def read_zip(path: Any, names: Mapping[str, Known], budget: Budget) -> Any:
    """Return the value in a file of torch's format since 1.6, a zip archive; storages stay there until used.

    Raises:
        RefusedPickleError: The pickle does more than hold weights, or the archive isn't one that torch wrote.
    """
    archive = zipfile.ZipFile(path)  # stays open for the storages
    entries = archive.infolist()
    if len(entries) > _MAX_ENTRIES:
        raise RefusedPickleError(f"its archive has {len(entries):,} entries, far more than weights need")
    is_program = any("/code/" in entry.filename for entry in entries)
    found = [entry.filename for entry in entries if entry.filename.endswith("/data.pkl")]
    if is_program or len(found) != 1:
        what = "is a TorchScript program" if is_program else "has no data.pkl"
        raise RefusedPickleError(f"its archive {what}: it isn't a file of torch.save with weights")
    for entry in entries:
        # torch compresses nothing. So nothing here can unpack to more bytes than the file has.
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise RefusedPickleError(f"its entry {entry.filename[:80]!r} is compressed or encrypted, unlike torch's")
    root = found[0].removesuffix("data.pkl")
    try:
        order = archive.read(f"{root}byteorder")
    except KeyError:
        order = b"little"
    if order != b"little":
        raise RefusedPickleError(f"its values are in the byte order {order[:20]!r}. Save it on a little-endian machine")

    def storage(kind: str, key: str, count: int) -> Storage:
        name = f"{root}data/{key}"
        size = archive.getinfo(name).file_size
        dtype = STORAGES[kind]
        if size < count * dtype.itemsize:
            raise RefusedPickleError(f"its storage {key[:20]} has {size:,} bytes for {count:,} values")
        return Storage(dtype, count, lambda: archive.read(name))

    machine = PickleMachine(known_by_name(names), budget, _persistent(storage))
    with archive.open(found[0]) as file:
        return machine.run(io.BytesIO(file.read()))


def is_legacy(start: bytes) -> bool:
    """Say whether a file begins like torch's older format: a pickle of its magic number."""
    return MAGIC_NUMBER.to_bytes(10, "little") in start[:32]


def read_legacy(source: Source, names: Mapping[str, Known], budget: Budget) -> Any:
    """Return the value in a file of torch's format before 1.6: pickles in a row, then the storages' bytes.

    Raises:
        RefusedPickleError: As for `read_zip`.
    """
    nothing = known_by_name({})

    def plain() -> Any:
        return PickleMachine(nothing, budget).run(source)

    magic, _, system = plain(), plain(), plain()
    if magic != MAGIC_NUMBER:
        raise RefusedPickleError("it doesn't begin like a file of torch.save")
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise RefusedPickleError("its values are of a big-endian machine. Save it on a little-endian one")
    contents: dict[str, bytes] = {}
    storages: dict[str, Storage] = {}

    def storage(kind: str, key: str, count: int) -> Storage:
        made = storages.setdefault(key, Storage(STORAGES[kind], count, lambda: contents[key]))
        if made.dtype != STORAGES[kind] or made.count != count:
            raise RefusedPickleError(f"its pickle describes the storage {key[:20]} in two ways")
        return made

    value = PickleMachine(known_by_name(names), budget, _persistent(storage)).run(source)
    keys = plain()
    if not isinstance(keys, list) or any(key not in storages for key in keys) or len(set(keys)) < len(storages):
        raise RefusedPickleError("its list of storages doesn't fit its pickle")
    for key in keys:
        count = struct.unpack("<q", source.read(8).ljust(8, b"\0"))[0]
        expected = storages[key].count
        if count != expected:
            raise RefusedPickleError(f"its storage {key[:20]} has {count:,} values, not {expected:,}")
        contents[key] = source.read(count * storages[key].dtype.itemsize)
    return value


def storage_from_bytes(data: Any, budget: Budget) -> Storage:
    """Return a storage that torch saved into bytes of another pickle (torch.storage._load_from_bytes)."""
    if not isinstance(data, bytes) or not is_legacy(data[:32]):
        raise RefusedPickleError("its pickle has a tensor in an unknown form")
    storage = read_legacy(io.BytesIO(data), storage_names(), budget)
    if not isinstance(storage, Storage):
        raise RefusedPickleError("its pickle has a tensor in an unknown form")
    return storage


def _persistent(storage: Callable[[str, str, int], Storage]) -> Callable[[Any], Storage]:
    """Return a reader of torch's persistent IDs: ("storage", type, key, device, number of values, …)."""

    def read(identity: Any) -> Storage:
        if not (isinstance(identity, tuple) and len(identity) in (5, 6) and identity[0] == "storage"):
            raise RefusedPickleError("its pickle refers to objects outside of it (a persistent ID)")
        _, kind, key, _, count = identity[:5]
        if (
            not (isinstance(kind, Known) and kind.name in STORAGES and isinstance(key, str))
            or not (isinstance(count, int) and count >= 0)
            or (len(identity) == 6 and identity[5] is not None)
        ):
            raise RefusedPickleError("its pickle describes a storage that can't exist")
        return storage(kind.name, key, count)

    return read
