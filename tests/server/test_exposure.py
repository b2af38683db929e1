"""Test that a server is not open by accident, and that its parts can be switched off or moved."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2, service_pb2_grpc

from callers import CallerFile
from ganserve import TLS, Client
from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc
from ganserve_server.errors import StartupError
from ganserve_server.exposure import check_exposure
from ganserve_server.settings import ServerConfig
from ganserve_server.settings_sources import read_configuration
from server_process import ServerProcess, running_server

if TYPE_CHECKING:
    from pathlib import Path

    from authority import Authority


@pytest.mark.parametrize(
    "flags",
    [
        ["--host", "0.0.0.0"],
        ["--host", "::"],
        ["--host", "[::]"],
        ["--host", "10.1.2.3"],
        ["--metrics-host", "0.0.0.0", "--metrics-port", "0"],
        ["--admin", "0.0.0.0:1"],
        ["--open-inference", "[::]:1"],
        ["--reflection", "10.1.2.3:1"],
    ],
)
@pytest.mark.parametrize(
    ("protection", "missing"),
    [
        ([], "calls are neither encrypted nor authenticated"),
        (["--identities", "i"], "calls are not encrypted"),
        (["--tls-certificate", "c", "--tls-key", "k"], "callers do not show who they are"),
        (["--tls-certificate", "c", "--tls-key", "k", "--identities", "i"], ""),
        (["--tls-certificate", "c", "--tls-key", "k", "--tls-client-ca", "a"], ""),
        (["--insecure"], ""),
    ],
)
def test_other_machines_are_let_in_on_purpose_only(flags: list[str], protection: list[str], missing: str) -> None:
    config = read_configuration([*flags, *protection], {}).config
    if not missing:
        check_exposure(config)
        return
    with pytest.raises(StartupError) as caught:
        check_exposure(config)
    assert str(caught.value) == (
        f"{flags[0]} {flags[1]}: lets other machines in, and {missing}. Give --tls-certificate, --tls-key and "
        "--identities; or listen on 127.0.0.1 or unix:PATH, behind a proxy that does both; or accept it with "
        "--insecure."
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]", "unix:/tmp/socket", "no.such.host."]
)
def test_this_machine_may_call(host: str) -> None:
    check_exposure(ServerConfig(host=host))


def test_the_server_refuses_before_it_listens(repository: Path) -> None:
    server = ServerProcess(repository, environment={"GANSERVE_HOST": "0.0.0.0"})
    assert server.wait() == 2
    assert server.log.splitlines()[-1].startswith(
        "ganserve serve: error: GANSERVE_HOST 0.0.0.0: lets other machines in"
    )
    assert "serving on" not in server.log
    server.stop()


def test_an_insecure_server_says_so(repository: Path) -> None:
    with running_server(repository, "--host", "0.0.0.0", "--insecure") as server:
        assert "--insecure: --host 0.0.0.0 lets other machines in, and calls are neither" in server.log
        with Client(f"127.0.0.1:{server.address.rpartition(':')[2]}") as client:
            assert client.models()


def test_a_protected_server_listens_everywhere(repository: Path, authority: Authority, tmp_path: Path) -> None:
    callers = CallerFile(tmp_path / "identities.toml")
    token, pair = callers.token("app", "sample"), authority.sign("exposed", "127.0.0.1")
    flags = ("--host", "0.0.0.0", *pair.server_flags, "--identities", str(callers.file))
    with running_server(repository, *flags) as server:
        target = f"127.0.0.1:{server.address.rpartition(':')[2]}"
        with Client(target, tls=TLS(ca=authority.file), token=token) as client:
            assert len(client.sample(2, model="tiny")) == 2


@pytest.mark.parametrize("value", ["maybe", "127.0.0.1", ":1", "a b:1", "127.0.0.1:x", "http://x:1"])
def test_a_part_is_on_off_or_at_an_address(value: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"--admin {value}: not on, off or an address")):
        ServerConfig(admin=value)


def answers(address: str) -> dict[str, bool]:
    """Return which parts of the server answer at an address."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        inference = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked: dict[str, Any] = {
            "calls": lambda: gan_service_pb2_grpc.GanServiceStub(channel).ListModels(
                gan_service_pb2.ListModelsRequest()
            ),
            "admin": lambda: admin_service_pb2_grpc.AdminServiceStub(channel).LoadModel(
                admin_service_pb2.LoadModelRequest(model="tiny")
            ),
            "open_inference": lambda: inference.ServerMetadata(service_pb2.ServerMetadataRequest()),
            "loading by open_inference": lambda: inference.RepositoryModelLoad(
                service_pb2.RepositoryModelLoadRequest(model_name="tiny")
            ),
            "reflection": lambda: list(
                reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                    iter([reflection_pb2.ServerReflectionRequest(list_services="")])
                )
            ),
            "health": lambda: health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()),
        }
        found = {}
        for name, ask in asked.items():
            try:
                ask()
                found[name] = True
            except grpc.RpcError as error:
                found[name] = error.code() is not grpc.StatusCode.UNIMPLEMENTED
        return found


def test_parts_can_be_switched_off(repository: Path) -> None:
    off = ("--admin", "off", "--open-inference", "off", "--reflection", "off")
    with running_server(repository, *off) as server:
        assert {name for name, answered in answers(server.address).items() if answered} == {"calls", "health"}
    with running_server(repository, "--admin", "off") as server:
        found = answers(server.address)
        assert {name for name, answered in found.items() if not answered} == {"admin", "loading by open_inference"}
        with grpc.insecure_channel(server.address) as channel:
            listed = set(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert "ganserve.v1.AdminService" not in listed
        assert listed >= {"ganserve.v1.GanService", "inference.GRPCInferenceService", "grpc.health.v1.Health"}


def test_parts_can_have_addresses_of_their_own(repository: Path) -> None:
    flags = ("--admin", "127.0.0.1:0", "--open-inference", "[::1]:0")
    with running_server(repository, *flags) as server:
        admin = re.search(r"^admin on (\S+)$", server.log, re.MULTILINE)
        inference = re.search(r"^open inference on (\S+)$", server.log, re.MULTILINE)
        assert admin is not None
        assert inference is not None
        found = {where: answers(where) for where in (server.address, admin[1], inference[1])}
        parts = [{name for name, answered in each.items() if answered} for each in found.values()]
        assert parts == [{"calls", "reflection", "health"}, {"admin", "health"}, {"open_inference", "health"}]
