"""Make the environments of the peers, from the pinned versions in `requirements`, and check that they are there."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from catalogue import Peer

FOLDER = Path(__file__).parents[3] / "build" / "peers"
PYTHON = (3, 11)
"""The versions are pinned for it."""
_INSTALL_S = 1800.0


class UnfitError(Exception):
    """The peer cannot run here; the text says why, and what to do."""


def environment(peer: Peer) -> Path:
    """Return the Python of a peer's environment; raise UnfitError if it has not been made from these versions."""
    folder = FOLDER / peer.name
    stamp = folder / "requirements.txt"
    if not stamp.is_file():
        raise UnfitError(f"it has no environment. Make it: python benchmarks/serving/peers --prepare {peer.name}")
    if stamp.read_bytes() != peer.requirements.read_bytes():
        raise UnfitError(
            f"its environment has other versions. Renew it: python benchmarks/serving/peers --prepare {peer.name}"
        )
    return folder / "bin" / "python"


def prepare(peer: Peer) -> str:
    """Make a peer's environment, unless it is there, and say what was done; raise UnfitError if it cannot be made."""
    try:
        environment(peer)
    except UnfitError:
        pass
    else:
        return "is there"
    python = interpreter(peer)
    folder, log = FOLDER / peer.name, FOLDER / f"{peer.name}.log"
    shutil.rmtree(folder, ignore_errors=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(folder / "bin" / "pip"), "install", "--disable-pip-version-check", "--no-deps"]
    with log.open("wb") as output:
        for command in ([python, "-m", "venv", str(folder)], [*pip, "-r", str(peer.requirements)]):
            _run(["nice", *command], output, log)
    shutil.copy(peer.requirements, folder / "requirements.txt")
    return "made"


def _run(command: list[str], output: IO[bytes], log: Path) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=_INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnfitError(f"the installation took more than {_INSTALL_S:.0f} s ({log})") from None
    if done.returncode:
        raise UnfitError(f"the installation failed: {last_line(log)} ({log})")


def interpreter(peer: Peer) -> str:
    """Return the Python that a peer's environment is made with; raise UnfitError if there is none."""
    if platform.machine() != "x86_64":
        raise UnfitError(f"its versions are pinned for x86-64, and this machine is {platform.machine()}")
    if not peer.python:
        if sys.version_info[:2] != PYTHON:
            wanted = ".".join(map(str, PYTHON))
            raise UnfitError(f"its versions are pinned for Python {wanted}. Prepare with `python{wanted}`")
        return sys.executable
    works = [peer.python, "-c", "import ctypes, ensurepip; ctypes.CDLL('libpython3.11.so.1.0')"]
    if not Path(peer.python).is_file() or subprocess.run(works, capture_output=True, check=False).returncode:
        fix = "Install it (Debian: apt-get install python3.11-venv libpython3.11)"
        raise UnfitError(f"it needs the system's own Python 3.11 with venv and libpython: {peer.python}. {fix}")
    return peer.python


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"
