"""Measure what encryption and identities cost, and change certificates and tokens under load.

    python benchmarks/serving/protection.py [--rounds 9] [--seconds 2] [--changes 20] [--load NAME]... [--json FILE]

Cost: four servers of the same models run side by side, one of them without protection, one that encrypts, one that
checks tokens, one that checks JWTs. A client process loads one after the other, round by round. Ratios are medians of
the rounds' ratios to the unprotected server, of the server's CPU time for a request and of the requests a second; the
CPU time says more where other programs use the machine.

Checks: the CPU time of looking at one call's token or JWT, alone in a loop; a busy server's caches make it longer.

Changes: a server that encrypts and knows callers is called by clients that stay connected and by ones that connect
anew for each call, while its certificate is replaced, and while callers move to a new token and the old one is revoked.
No call may fail.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import ssl
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from common import cpu_seconds, load, machine, server
from packages import write_generator_package

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from authority import Authority, Pair
from callers import CallerFile, Keys
from ganserve import TLS, Client, GanserveError
from ganserve_server.identity.authenticator import Authenticator

MODELS = ("tiny", "conv8")
QUIET = ["--log-level", "error", "--access-log", "off"]
LOADS = {"tiny n=1 C=1": ("tiny", 1, 1), "tiny n=1 C=16": ("tiny", 1, 16), "conv8 n=64 C=4": ("conv8", 64, 4)}
STAYING, CONNECTING = 2, 2
CHECKS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of the cost")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each load")
    parser.add_argument("--changes", type=int, default=20, help="changes of certificates, and of tokens")
    parser.add_argument("--load", action="append", choices=LOADS, help="loads of the cost; default: all")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            write_generator_package(Path(folder, "models"), name)
        report = {
            "machine": machine(),
            "command": sys.argv,
            "changes": changes(Path(folder), arguments.changes),
            "checks_us": checks(Path(folder)),
            "cost": cost(Path(folder), arguments.rounds, arguments.seconds, arguments.load or [*LOADS]),
        }
    sys.stdout.write(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def checks(folder: Path) -> dict[str, float]:
    """Return the CPU microseconds of identifying one call."""
    callers, keys = CallerFile(folder / "checked.toml"), Keys(folder)
    callers.issuer(keys.file.name)
    tokens = {"token": callers.token("checked", "sample"), "JWT again": keys.token()}
    authenticator = Authenticator(callers.file)
    found = {}
    for name, token in tokens.items():
        metadata = (("user-agent", "grpc-python"), ("x-request-id", "0123456789abcdef"), header(token))
        authenticator.identify(metadata, None)
        began = time.thread_time()
        for _ in range(CHECKS):
            authenticator.identify(metadata, None)
        found[name] = (time.thread_time() - began) * 1e6 / CHECKS
    fresh = [(header(keys.token(jti=str(number))),) for number in range(CHECKS // 100)]
    began = time.thread_time()
    for metadata in fresh:
        authenticator.identify(metadata, None)
    found["JWT for the first time"] = (time.thread_time() - began) * 1e6 / len(fresh)
    return found


def header(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def cost(folder: Path, rounds: int, seconds: float, loads: list[str]) -> dict[str, object]:
    authority, callers, keys = Authority(folder), CallerFile(folder / "identities.toml"), Keys(folder)
    callers.issuer(keys.file.name)
    token, pair = callers.token("bench", "sample"), authority.sign("cost", "127.0.0.1")
    ca, known = {"CLIENT_CA": str(authority.file)}, ["--identities", str(callers.file)]
    ways: dict[str, tuple[list[str], dict[str, str]]] = {
        "plain": ([], {}),
        "TLS": (pair.server_flags, ca),
        "token": (known, {"CLIENT_TOKEN": token}),
        "JWT": (known, {"CLIENT_TOKEN": keys.token(exp=int(time.time()) + 86_400)}),
        "TLS and token": ([*pair.server_flags, *known], {**ca, "CLIENT_TOKEN": token}),
    }
    measured: dict[str, dict[str, list[tuple[float, float]]]] = {name: {way: [] for way in ways} for name in loads}
    with contextlib.ExitStack() as stack:
        running = {
            way: stack.enter_context(server(folder / "models", [*flags, *QUIET])) for way, (flags, _) in ways.items()
        }
        for number in range(rounds + 1):
            # Each round begins with another one, so that none always follows the same.
            order = [*ways][number % len(ways) :] + [*ways][: number % len(ways)]
            for name in loads:
                model, count, concurrency = LOADS[name]
                for way in order:
                    process, address = running[way]
                    before = cpu_seconds(process.pid)
                    got = load(address, model, count, concurrency, seconds if number else 0.3, ways[way][1])
                    if number:  # the first round warms up
                        cpu_ms = (cpu_seconds(process.pid) - before) * 1e3 / got["requests"]
                        measured[name][way].append((cpu_ms, got["requests"] / got["seconds"]))
    return {
        name: {
            way: {
                "cpu_ms": statistics.median(cpu for cpu, _ in found[way]),
                "requests_per_s": statistics.median(rate for _, rate in found[way]),
                "cpu_ratio": statistics.median(a[0] / b[0] for a, b in zip(found[way], found["plain"], strict=True)),
                "rate_ratio": statistics.median(a[1] / b[1] for a, b in zip(found[way], found["plain"], strict=True)),
            }
            for way in ways
        }
        for name, found in measured.items()
    }


class Callers:
    """Threads that call a server until the block ends, and count what fails."""

    def __init__(self, address: str, tls: TLS, token: str) -> None:
        self.token = token
        self.calls = 0
        self.failures: list[str] = []
        self._address, self._tls = address, tls
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=target) for target in [self._stay] * STAYING + [self._connect] * CONNECTING
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _client(self) -> Client:
        # No second attempts: they would hide a failure.
        return Client(self._address, tls=self._tls, token=lambda: self.token, max_attempts=1)

    def _stay(self) -> None:
        with self._client() as client:
            while not self._over.is_set():
                self._call(client)

    def _connect(self) -> None:
        while not self._over.is_set():
            with self._client() as client:
                self._call(client)

    def _call(self, client: Client) -> None:
        try:
            client.sample(1, model="tiny")
        except GanserveError as error:
            self.failures.append(str(error))
        self.calls += 1


def changes(folder: Path, count: int) -> dict[str, object]:
    authority, callers = Authority(folder), CallerFile(folder / "changing.toml")
    pair = Pair(folder / "server.pem", folder / "server.key")
    pair.replace(authority.sign("changing 0", "127.0.0.1"))
    token = callers.token("app-0", "sample")
    flags = [*pair.server_flags, "--identities", str(callers.file), *QUIET]
    tls = TLS(ca=authority.file)
    figures: dict[str, object] = {}
    with server(folder / "models", flags) as (_, address), Callers(address, tls, token) as load:
        began = time.monotonic()
        for number in range(1, count + 1):
            fresh = authority.sign(f"changing {number}", "127.0.0.1")
            pair.replace(fresh)
            served(address, authority, fresh)
        figures["certificates"] = {"changes": count, "calls": load.calls, "failed": len(load.failures)}
        before = load.calls
        for number in range(1, count + 1):
            token = callers.token(f"app-{number}", "sample")
            known(address, tls, token, right=True)
            old, load.token = load.token, token
            moved = load.calls + 4 * (STAYING + CONNECTING)
            while load.calls < moved:  # calls that began with the old one end
                time.sleep(0.01)
            callers.remove(f"app-{number - 1}")
            known(address, tls, old, right=False)
        figures["tokens"] = {"changes": count, "calls": load.calls - before, "failed": len(load.failures)}
        figures["seconds"] = time.monotonic() - began
    figures["first failures"] = load.failures[:3]
    return figures


def served(address: str, authority: Authority, pair: Pair) -> None:
    """Wait until new connections get a certificate."""
    host, _, port = address.rpartition(":")
    wanted = pair.certificate.read_text()
    while ssl.get_server_certificate((host, int(port)), ca_certs=str(authority.file)).split() != wanted.split():
        time.sleep(0.05)


def known(address: str, tls: TLS, token: str, *, right: bool) -> None:
    """Wait until a token is right, or wrong."""
    with Client(address, tls=tls, token=token, max_attempts=1) as client:
        while True:
            try:
                client.models()
            except GanserveError:
                if not right:
                    return
            else:
                if right:
                    return
            time.sleep(0.05)


def table(report: dict[str, object]) -> str:
    lines = [json.dumps(report["changes"]), json.dumps(report["checks_us"]), ""]
    lines.append("| load | way | server CPU ms a request | of plain | requests/s | of plain |")
    lines.append("|---|---|---|---|---|---|")
    found: dict[str, dict[str, dict[str, float]]] = report["cost"]  # type: ignore[assignment]
    for name, ways in found.items():
        for way, row in ways.items():
            lines.append(
                f"| {name} | {way} | {row['cpu_ms']:.2f} | {row['cpu_ratio']:.2f} | {row['requests_per_s']:,.0f} | "
                f"{row['rate_ratio']:.2f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
