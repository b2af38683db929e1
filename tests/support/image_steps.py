"""Carry out a Dockerfile without a container engine: its stages are layers of overlayfs in namespaces of their own.

Every RUN runs in a chroot of its stage. The base image is this machine's root, with what BASE_PACKAGES add to it in a
layer; nothing of the machine itself changes. GANSERVE_IMAGE_BASE names another folder with a root, such as debootstrap
makes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

BASE_PACKAGES = "python3 python3-pip python3-venv"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# How this machine reaches a package index does not belong to the image.
_INDEX = ("PIP_", "SSL_CERT", "REQUESTS_CA", "http_proxy", "https_proxy", "no_proxy")


def obstacle() -> str:
    """Return why images cannot be tried here; empty if they can."""
    if not shutil.which("unshare") or os.geteuid() != 0:
        return "needs root and unshare"
    if not Path("/dev/shm").is_mount() or shutil.disk_usage("/dev/shm").free < 3 * 2**30:
        return "needs 3 GiB in /dev/shm"
    script = (
        "d=$(mktemp -d) && mount -t tmpfs none $d && mkdir $d/u $d/w $d/r && "
        "mount -t overlay overlay -o lowerdir=/,upperdir=$d/u,workdir=$d/w $d/r"
    )
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    return done.stderr.strip()


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n", "", text)
    lines = (line.partition(" ") for line in text.splitlines())
    return [(word.upper(), rest.strip()) for word, _, rest in lines if word]


@dataclass
class Stage:
    """An image, or a part of its making."""

    layers: list[Path]
    """The newest first; the first is written."""
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    arguments: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)

    def command(
        self, command: list[str], *, mounts: str = "", read_only: bool = False, root: bool = False
    ) -> list[str]:
        """Return a command line that runs a command in this stage's root, as its user or as root of the machine."""
        user, workdir = ("0:0", "/") if root else (self.user, self.workdir)
        top = self.layers[0]
        lower = ":".join(map(str, self.layers if read_only else self.layers[1:]))
        upper = "" if read_only else f",upperdir={top},workdir={top}.work"
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.environment.items())
        return [
            "unshare",
            "--mount",
            "sh",
            "-euc",
            f"r={top}.root; mount -t overlay overlay -o lowerdir={lower}{upper} $r; mount --rbind /proc $r/proc; "
            f"mount --rbind /dev $r/dev; mount -t tmpfs none $r/tmp; {mounts}"
            f"exec chroot --userspec={user} $r /usr/bin/env -i {variables} /bin/sh -c "
            f"{shlex.quote(f'cd {workdir} && exec ' + shlex.join(command))}",
        ]

    def run(self, shell: str, *, root: bool = False) -> None:
        found = {key: value for key, value in os.environ.items() if key.startswith(_INDEX)}
        assigned = " ".join(f"{name}={shlex.quote(value)}" for name, value in {**found, **self.arguments}.items())
        command = self.command(["env", *shlex.split(assigned), "/bin/sh", "-ec", shell], root=root)
        done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
        assert done.returncode == 0, f"{shell}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


class Image:
    """The last stage of a Dockerfile, carried out in `folder`."""

    def __init__(self, dockerfile: Path, context: Path, folder: Path, **arguments: str) -> None:
        self._folder, self._context, self._given = folder, context, arguments
        base = Path(os.environ.get("GANSERVE_IMAGE_BASE", "/"))
        if base == Path("/"):
            prepared = Stage([self._layer("base"), base])
            prepared.run(f"apt-get update -qq && apt-get install -qq -y --no-install-recommends {BASE_PACKAGES}")
            self._base = prepared.layers
        else:
            self._base = [base]
        self._stages: dict[str, Stage] = {}
        self.stage = Stage([])
        for word, rest in instructions(dockerfile.read_text(encoding="utf-8")):
            getattr(self, f"_{word.lower()}")(rest)

    def _layer(self, name: str) -> Path:
        for suffix in ("", ".work", ".root"):
            (self._folder / f"{name}{suffix}").mkdir()
        return self._folder / name

    def _from(self, rest: str) -> None:
        _, _, name = rest.partition(" AS ")
        name = name or "final"
        self.stage = self._stages[name] = Stage([self._layer(name), *self._base])

    def _arg(self, rest: str) -> None:
        name, _, default = rest.partition("=")
        self.stage.arguments[name] = self._given.get(name, default)

    def _env(self, rest: str) -> None:
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            self.stage.environment[name] = value.replace("$PATH", self.stage.environment["PATH"])

    def _workdir(self, rest: str) -> None:
        self.stage.workdir = rest
        self.stage.run(f"mkdir -p {rest}", root=True)

    def _copy(self, rest: str) -> None:
        *sources, target = shlex.split(rest)
        origin = self._context
        if sources[0].startswith("--from="):
            origin = self._stages[sources.pop(0).removeprefix("--from=")].layers[0]
        place = self.stage.layers[0] / (Path(self.stage.workdir) / target).relative_to("/")
        for source in sources:
            found = origin / source.lstrip("/")
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__") if origin == self._context else None
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                to = place / found.name if target.endswith("/") else place
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, to)

    def _run(self, rest: str) -> None:
        self.stage.run(rest)

    def _user(self, rest: str) -> None:
        self.stage.user = rest

    def _entrypoint(self, rest: str) -> None:
        self.stage.entrypoint = json.loads(rest)

    def _nothing(self, rest: str) -> None:
        """Skip what has no effect without an engine."""

    _expose = _stopsignal = _healthcheck = _nothing

    @property
    def added_mib(self) -> dict[str, float]:
        """Sizes of what the image adds to its base, by folder."""
        top = self.stage.layers[0]
        parts = [top / "opt/ganserve", *(path for path in top.iterdir() if path.name != "opt")]
        return {
            str(part.relative_to(top)): sum(
                file.lstat().st_blocks for file in [part, *part.rglob("*")] if not file.is_symlink()
            )
            / 2**11
            for part in parts
        }
