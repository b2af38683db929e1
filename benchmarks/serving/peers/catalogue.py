"""The servers that are compared, in the order of the table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server that is not of this project, in an environment of its own."""

    title: str
    protocol: str
    """A key of `protocols.PROTOCOLS`."""
    python: str = ""
    """The interpreter of its environment, if not the harness's own."""
    start_s: float = 60.0
    """How long it may take to its first answer."""
    variables: tuple[tuple[str, str], ...] = ()
    """Environment variables of its processes."""
    options: tuple[str, ...] = ()
    """Further arguments of its script."""

    @property
    def name(self) -> str:
        """Return its name on the command line, and of its files."""
        return self.title.split()[0].lower()

    @property
    def requirements(self) -> Path:
        return HERE / "requirements" / f"{self.name}.txt"

    @property
    def script(self) -> Path:
        return HERE / "servers" / f"{self.name}_server.py"


PEERS = (
    # Triton's core embeds the Python of the system, and finds no other one.
    Peer(title="Triton (pytriton)", protocol="open inference", python="/usr/bin/python3.11"),
    Peer(title="KServe", protocol="open inference"),
    Peer(title="LitServe", protocol="litserve"),
    # The shorter wait for lone requests, the longer one for many: no one setting is good for both.
    Peer(title="MLServer (0.1 ms)", protocol="open inference", options=("0.0001",)),
    Peer(title="MLServer (5 ms)", protocol="open inference", options=("0.005",)),
    Peer(title="BentoML", protocol="bentoml", variables=(("BENTOML_DO_NOT_TRACK", "True"),)),
    Peer(
        title="Ray Serve",
        protocol="ganserve",
        start_s=120.0,
        variables=(
            ("RAY_USAGE_STATS_ENABLED", "0"),
            ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
            # By default its workers yield to the client, which shares their cores.
            ("RAY_worker_niceness", "0"),
            # Without it Ray takes the machine's address on the network in place of 127.0.0.1.
            ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"),
        ),
    ),
)

NAMES = tuple(dict.fromkeys(peer.name for peer in PEERS))

OWN = ("ganserve", "sketch")
"""Servers of this project, which need no environment."""

NOT_INSTALLABLE = {
    "OpenVINO Model Server": "not measured: neither PyPI nor Debian has a package of it, neither `ovms` nor "
    "`openvino-model-server`. It comes as a container image and as archives"
}
