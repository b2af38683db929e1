"""Open a file of weights, whichever program wrote it, with the reader of its form."""

import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any

from ganserve_export.errors import ExportError
from ganserve_export.from_weights.pickle_machine import (
    Budget,
    DamagedPickleError,
    PickleMachine,
    RefusedPickleError,
    known_by_name,
)
from ganserve_export.from_weights.records import harmless_names, module_names
from ganserve_export.from_weights.torch_files import is_legacy, read_legacy, read_zip

_DAMAGE = (OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, NotImplementedError, OverflowError)


def read_file(path: Path) -> Any:
    """Return the value in a pickle or in a file of torch.save: dictionaries, records of modules, stored tensors.

    Raises:
        ExportError: It can't be read, or it holds more than weights. No code of it runs.
    """
    if path.exists() and not path.is_file():  # a pipe, for instance, would never end
        raise ExportError(f"{path}: is not a file. Give a network pickle or a checkpoint.")
    try:
        if not path.stat().st_size:
            raise ValueError("it is empty")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _value(path, content)
    except RefusedPickleError as error:
        if "asks for dnnlib.tflib." in str(error):
            raise ExportError(
                f"{path}: is a network pickle of the older code for TensorFlow. Convert it with `python legacy.py "
                "--source OLD.pkl --dest NEW.pkl` of stylegan2-ada-pytorch or stylegan3, and give the new file."
            ) from error
        if isinstance(error, DamagedPickleError):
            raise ExportError(f"{path}: {error}. Download or copy it again.") from error
        raise ExportError(
            f"{path}: {error}. ganserve reads weights alone, and ran no code of this file. If you trust it, load it "
            "with the code that wrote it, and save its state_dicts with torch.save."
        ) from error
    except (zipfile.BadZipFile, struct.error, *_DAMAGE) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ExportError(
            f"{path}: can't be read as a pickle or a file of torch.save ({reason}). Give a network pickle of "
            "stylegan2-ada-pytorch or stylegan3, or a checkpoint of another StyleGAN2 in PyTorch."
        ) from error


def _value(path: Path, content: mmap.mmap) -> Any:
    start = content[:32]
    budget = Budget()
    if start.startswith(b"PK"):
        if not zipfile.is_zipfile(path):
            raise DamagedPickleError("it begins like a file of torch.save, and is damaged or cut off")
        return read_zip(path, harmless_names(), budget)
    if is_legacy(start):
        return read_legacy(content, harmless_names(), budget)
    if not start.startswith((b"\x80", b"(", b"]", b"}", b"c")):
        raise ValueError("it begins like neither")
    return PickleMachine(known_by_name(module_names(budget)), budget).run(content)
