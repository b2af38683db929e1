"""Test that the server answers hostile bytes with a status and keeps running."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import grpc

from hostile import METHODS, Caller, Hostile, garbage
from server_process import running_server
from stubs import OPTIONS, connected
from tiny_packages import build_tiny_repository

if TYPE_CHECKING:
    from pathlib import Path


def test_hostile_requests_get_statuses_for_client_errors(tmp_path: Path) -> None:
    models = build_tiny_repository(tmp_path)
    answers: collections.Counter[tuple[str, str]] = collections.Counter()
    with running_server(models, "--poll-s", "0", "--drain-timeout-s", "1") as server:
        source = Hostile(seed=20261124)
        with grpc.insecure_channel(server.address, options=OPTIONS) as channel:
            caller = Caller(channel, source)
            for index in range(1500):
                if index % 200 == 0:
                    garbage(server.address, source, 3)
                caller.send()
            assert not caller.unexpected, "\n".join(caller.unexpected[:5])
            answers = caller.answers
        with connected(server.address) as stubs:
            loaded = stubs.sample(model="tiny-vector", count=3, seed=1) if _serves(stubs) else None
        assert loaded is None or loaded.samples.tensor.shape[0] == 3
        assert server.process.poll() is None
        assert "Traceback" not in server.log
    statuses = {status for _, status in answers}
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"} <= statuses
    assert {path for path, _ in answers} >= {path for path in METHODS if "GanService" in path}


def _serves(stubs: object) -> bool:
    from ganserve.v1 import gan_service_pb2

    models = stubs.gan.ListModels(gan_service_pb2.ListModelsRequest(), timeout=20).models
    return any(model.name == "tiny-vector" and model.latest for model in models)
