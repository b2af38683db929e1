"""Run a command where every packet to another machine is seen: in network and mount namespaces of its own.

As a program, it prepares the namespaces that `unshare` has made, runs the command, and writes the packets as JSON.
Packets to other machines, and to the resolver, which is one of them, go to the loopback device, which drops them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

_UNSHARE = ("unshare", "--net", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
_RESOLVER, _OWN = "10.77.0.1", "10.77.0.2"
_IPV4 = 0x0800


def obstacle() -> str:
    """Return why commands cannot be isolated here; "" if they can."""
    for program in ("unshare", "ip", "mount"):
        if shutil.which(program) is None:
            return f"there is no program {program!r}"
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


def run_isolated(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, list[str], str]:
    """Run a command in `folder`; return its exit code, its packets to other machines, and what it printed."""
    with tempfile.NamedTemporaryFile("r") as report:
        words = [*_UNSHARE, sys.executable, __file__, report.name, *command]
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        packets = json.loads(report.read() or '["the namespaces could not be prepared"]')
        return done.returncode, packets, done.stdout + done.stderr


def _main() -> int:
    report, *command = sys.argv[1:]
    with tempfile.NamedTemporaryFile("w") as resolver:
        resolver.write(f"nameserver {_RESOLVER}\noptions timeout:1 attempts:1\n")
        resolver.flush()
        for line in (
            "mount --make-rprivate /",
            f"mount --bind {resolver.name} {Path('/etc/resolv.conf').resolve()}",
            "ip link set lo up",
            f"ip address add {_OWN}/32 dev lo",
            f"ip route add default dev lo src {_OWN}",
        ):
            subprocess.run(line.split(), check=True)
        packets: list[str] = []
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        tap.bind(("lo", 0))
        threading.Thread(target=_record, args=(tap, packets), daemon=True).start()
        code = subprocess.run(command, check=False).returncode
        time.sleep(0.2)  # the tap is read by a thread
        Path(report).write_text(json.dumps(packets))
        return code


def _record(tap: socket.socket, packets: list[str]) -> None:
    while True:
        frame = tap.recv(65536)
        if struct.unpack("!H", frame[12:14])[0] != _IPV4:
            continue  # the kernel's own, which finds neighbours
        header = (frame[14] & 15) * 4
        target = socket.inet_ntoa(frame[30:34])
        if target.startswith("127.") or target == _OWN:
            continue
        (port,) = struct.unpack("!H", frame[14 + header + 2 : 14 + header + 4])
        asked = _name(frame[14 + header + 8 + 12 :]) if port == 53 else ""
        packets.append(f"{target}:{port} {asked}".strip())


def _name(question: bytes) -> str:
    parts = []
    while question and question[0]:
        parts.append(question[1 : 1 + question[0]].decode("ascii", "replace"))
        question = question[1 + question[0] :]
    return ".".join(parts)


if __name__ == "__main__":
    sys.exit(_main())
