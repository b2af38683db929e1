"""The values of pickles and checkpoints: modules as records of their state, dictionaries and tensors by dotted name."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ganserve_export.from_weights.pickle_machine import Budget, Known, RefusedPickleError
from ganserve_export.from_weights.tensor_values import Array, StoredTensor, array_names, tensor_names
from ganserve_export.from_weights.torch_files import storage_from_bytes

_MAX_MODULES, _MAX_DEPTH = 20_000, 20
_MAX_BYTES = 2**31
"""Most bytes of the tensors of one network, which may share storages. A generator of 1024 px has 120 MB."""


@dataclass(slots=True)
class Record:
    """An object of which only the attributes are read."""

    kind: str
    """Name of its class."""
    state: dict[str, Any] = field(default_factory=dict)

    def build(self, state: Any) -> None:
        """Take the attributes."""
        if not isinstance(state, dict):
            raise RefusedPickleError(f"its pickle has a {self.kind} without attributes")
        self.state = state


def _persistent_object(meta: Any) -> Record:
    """Return a module of torch_utils.persistence, without its source code, which the original would execute."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict) or meta.get("type") != "class":
        raise RefusedPickleError("its pickle has a persistent object without a state")
    return Record(str(meta.get("class_name"))[:80], meta["state"])


def _recordings(names: tuple[str, ...]) -> dict[str, Known]:
    def known(name: str) -> Known:
        return Known(name, lambda *_: Record(name.rpartition(".")[2]))

    return {name: known(name) for name in names}


def harmless_names() -> dict[str, Known]:
    """Return names that checkpoints hold beside tensors, and their replacements: dictionaries, records, numbers."""
    names = {name: Known(name, lambda *_: {}) for name in ("collections.OrderedDict", "dnnlib.util.EasyDict")}
    names["collections.defaultdict"] = Known("collections.defaultdict", lambda *_: {})
    names["_codecs.encode"] = Known("_codecs.encode", _encoded)
    for builtins in ("builtins", "__builtin__"):
        names[f"{builtins}.set"] = Known("set", lambda *values: set() if not values else _set(values[0]))
        for plain in ("list", "dict", "tuple", "int", "float", "str", "bool", "object"):
            names[f"{builtins}.{plain}"] = Known(plain)  # types as factories and arguments; never called
    for copying in ("copyreg", "copy_reg"):  # objects of protocols 0 and 1
        names[f"{copying}._reconstructor"] = Known(f"{copying}._reconstructor", _reconstructed)
    names |= _recordings(("argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.Path"))
    return names | array_names() | tensor_names()


def module_names(budget: Budget) -> dict[str, Known]:
    """Return replacements of the names in a pickle of whole modules: those of persistence, and storages in bytes."""
    return harmless_names() | {
        "torch_utils.persistence._reconstruct_persistent_obj": Known("persistent object", _persistent_object),
        "torch.storage._load_from_bytes": Known("storage", lambda data: storage_from_bytes(data, budget)),
    }


def _reconstructed(kind: Any, _: Any, state: Any) -> Any:
    """Return a dictionary or a record, whose class and base protocols 0 and 1 write with it."""
    if not isinstance(kind, Known) or kind.make is None:
        raise RefusedPickleError("its pickle makes an object of an unknown kind")
    return state if isinstance(state, dict) else kind.make()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    """Return bytes that protocols before 3 write as text."""
    if not isinstance(text, str) or encoding not in {"latin1", "latin-1"}:
        raise RefusedPickleError("its pickle has text in place of bytes")
    return text.encode("latin-1")


def _set(values: Any) -> set[Any]:
    if not isinstance(values, list) or not all(isinstance(value, str | int | float) for value in values):
        raise RefusedPickleError("its pickle has a set of other values than text and numbers")
    return set(values)


def is_module(value: Any) -> bool:
    """Say whether a value is a torch module's record."""
    return isinstance(value, Record) and isinstance(value.state.get("_modules"), dict)


def tensors_of_module(module: Record) -> dict[str, Tensor]:
    """Return parameters and buffers of a module and its parts by dotted name, as its state_dict has them."""
    return _read(_walk(module), module.kind)


def _read(values: Iterable[tuple[str, StoredTensor | Array]], what: str) -> dict[str, Tensor]:
    """Return copies of tensors; raise RefusedPickleError if all together are larger than those of any network."""
    tensors, total = {}, 0
    for name, value in values:
        tensors[name] = tensor = value.tensor()
        total += tensor.nbytes
        if total > _MAX_BYTES:
            raise RefusedPickleError(f"its {what} has more than {_MAX_BYTES:,} bytes of weights")
    return tensors


def _walk(module: Record) -> Iterator[tuple[str, StoredTensor | Array]]:
    waiting, count = [("", module, 0)], 0
    while waiting:
        prefix, record, depth = waiting.pop()
        count += 1
        if count > _MAX_MODULES or depth > _MAX_DEPTH:  # modules that hold each other
            raise RefusedPickleError(f"its {module.kind} has more than {_MAX_MODULES:,} parts, or parts in a circle")
        for group in ("_parameters", "_buffers"):
            for name, value in _dictionary(record.state.get(group)).items():
                if isinstance(value, StoredTensor | Array):
                    yield f"{prefix}{name}", value
        for name, part in _dictionary(record.state.get("_modules")).items():
            if is_module(part):
                waiting.append((f"{prefix}{name}.", part, depth + 1))


def tensors_of_dictionary(values: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors in a state_dict."""
    found = ((str(name), value) for name, value in values.items() if isinstance(value, StoredTensor | Array))
    return _read(found, "state_dict")


def _dictionary(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}
