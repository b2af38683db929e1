"""Send 100,000 hostile requests to every RPC, and garbage to the port: the server must answer all of them and survive.

    python benchmarks/serving/bad_input.py [--requests 100000] [--identities] [--seed 0] [--json FILE]

The requests come from tests/support/hostile.py: every field of every message absent, plausible or nasty (NaN, infinity,
huge and negative numbers, strange text, wrong sizes), and messages that are garbage, truncated or flipped, for
GanService, AdminService, health, reflection and the Open Inference Protocol. Other connections speak no gRPC or send
messages beyond the size limit. Two processes send. A failure is an INTERNAL, UNKNOWN or UNAVAILABLE answer, no answer
within 30 s, a server that ended, or a traceback in its log.

With --identities the server knows its callers: three in five requests come from strangers (no token, a wrong one, a
garbled header), one from a caller that may only sample, one from one that may everything. A stranger's OK is a failure.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
from common import machine, memory_mib

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
from strangers import As, Turns

from callers import CallerFile
from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc
from hostile import Caller, Hostile, garbage
from server_process import running_server
from stubs import OPTIONS
from tiny_packages import build_tiny_repository

PROCESSES = 2
_RELOAD_EVERY = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--identities", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    answers: collections.Counter[str] = collections.Counter()
    callers: collections.Counter[str] = collections.Counter()
    methods: set[str] = set()
    unexpected: list[str] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        models = build_tiny_repository(Path(folder))
        known, flags = CallerFile(Path(folder, "identities.toml")), ["--poll-s", "0", "--drain-timeout-s", "5"]
        tokens: dict[str, str] = {}
        if arguments.identities:
            tokens = {
                "all": known.token("all", "sample", "score", "admin", "metrics"),
                "sampler": known.token("sampler", "sample"),
            }
            flags += ["--identities", str(known.file)]
        with running_server(models, *flags) as server:
            before = memory_mib(server.process.pid)
            share = arguments.requests // PROCESSES
            context = multiprocessing.get_context("spawn")
            jobs = [(server.address, arguments.seed * PROCESSES + index, share, tokens) for index in range(PROCESSES)]
            with context.Pool(PROCESSES) as pool:
                for counts, kinds, found in pool.starmap(send, jobs):
                    unexpected += found
                    callers.update(kinds)
                    for (method, status), count in counts.items():
                        answers[status] += count
                        methods.add(method)
            unexpected += oversized(server.address, tokens)
            after = memory_mib(server.process.pid)
            if server.process.poll() is not None:
                unexpected.append(f"the server ended with {server.process.returncode}")
            if "Traceback" in server.log:
                unexpected.append(server.log[server.log.index("Traceback") :][:2000])
    seconds = time.perf_counter() - began
    print(f"{sum(answers.values()):,} requests to {len(methods)} RPCs in {seconds:.0f} s")
    print(", ".join(f"{count:,} {status}" for status, count in answers.most_common()))
    print(*(f"  {kind}: {count:,}" for kind, count in sorted(callers.items())), sep="\n")
    print(f"memory {before:.0f} MiB before, {after:.0f} after")
    print(f"unexpected: {len(unexpected) or 'nothing'}", *unexpected[:10], sep="\n")
    if arguments.json:
        report: dict[str, Any] = {
            "machine": machine(),
            "command": sys.argv,
            "answers": answers,
            "callers": callers,
            "unexpected": unexpected,
        }
        report |= {"methods": sorted(methods), "memory_mib": [before, after], "seconds": seconds}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if unexpected:
        sys.exit(1)


def send(
    address: str, seed: int, count: int, tokens: dict[str, str]
) -> tuple[dict[tuple[str, str], int], dict[str, int], list[str]]:
    source, turns = Hostile(seed), Turns(tokens, seed)
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        caller = Caller(grpc.intercept_channel(channel, turns) if tokens else channel, source)
        for index in range(count):
            if index % _RELOAD_EVERY == 0:
                garbage(address, source, 20)
                load_all(as_owner(channel, tokens))
            path, status = caller.send()
            if tokens:
                turns.saw(path, status)
    return dict(caller.answers), dict(turns.statuses), caller.unexpected + turns.unexpected


def as_owner(channel: grpc.Channel, tokens: dict[str, str]) -> grpc.Channel:
    """Return the channel of the caller that may everything."""
    return grpc.intercept_channel(channel, As(tokens["all"])) if tokens else channel


def load_all(channel: grpc.Channel) -> None:
    """Load again what hostile requests have unloaded."""
    admin = admin_service_pb2_grpc.AdminServiceStub(channel)
    models = gan_service_pb2_grpc.GanServiceStub(channel).ListModels(gan_service_pb2.ListModelsRequest(), timeout=60)
    for model in models.models:
        for version in model.versions:
            if version.state != gan_service_pb2.MODEL_STATE_READY:
                request = admin_service_pb2.LoadModelRequest(model=model.name, version=version.version)
                admin.LoadModel(request, timeout=60)


def oversized(address: str, tokens: dict[str, str]) -> list[str]:
    """Check that a message beyond the limit is refused, and that the next call is answered."""
    unexpected = []
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        stub = gan_service_pb2_grpc.GanServiceStub(as_owner(channel, tokens))
        request = gan_service_pb2.SampleRequest(model="tiny", count=1)
        request.latents.data = bytes(300 * 2**20)
        try:
            stub.Sample(request, timeout=60)
            unexpected.append("a message of 300 MiB was taken")
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                unexpected.append(f"a message of 300 MiB: {error.code().name} {error.details()}")
        request.ClearField("latents")
        stub.Sample(request, timeout=60)
    return unexpected


if __name__ == "__main__":
    main()
