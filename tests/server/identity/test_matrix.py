"""Test every RPC, for every role, by every way in: what is let in, and what is refused with which status."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2

from callers import PAST, CallerFile, Keys
from ganserve.v1 import admin_service_pb2, gan_service_pb2
from ganserve_server.api.grpc.guard import Guard
from ganserve_server.api.grpc.reflection_v1 import REFLECTION_V1, reflection_v1
from ganserve_server.api.grpc.server import GrpcServer
from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.identity.authenticator import Authenticator
from ganserve_server.identity.identity import ROLES
from ganserve_server.identity.rules import RULES
from ganserve_server.models.repository import Repository
from ganserve_server.queue.options import BatchConfig
from ganserve_server.service import GanService
from ganserve_server.tls.pem_files import PemFiles
from ganserve_server.tls.server_tls import ServerTls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from authority import Authority

LET_IN, UNKNOWN, DENIED = "let in", "UNAUTHENTICATED", "PERMISSION_DENIED"
USERS, ANYBODY = {"sample", "score", "admin"}, {"sample", "score", "admin", "metrics"}
# Written by hand, and not from the server's table, so that a change of either is a decision.
ALLOWED: dict[str, set[str]] = {
    "ganserve.v1.GanService/Sample": {"sample"},
    "ganserve.v1.GanService/StreamSamples": {"sample"},
    "ganserve.v1.GanService/Score": {"score"},
    "ganserve.v1.GanService/StreamScores": {"score"},
    "ganserve.v1.GanService/ListModels": USERS,
    "ganserve.v1.GanService/GetModel": USERS,
    **{f"ganserve.v1.AdminService/{name}": {"admin"} for name in ("LoadModel", "UnloadModel", "ReloadRepository")},
    **{f"inference.GRPCInferenceService/{name}": ANYBODY for name in ("ServerLive", "ServerReady", "ModelReady")},
    **{
        f"inference.GRPCInferenceService/{name}": USERS
        for name in ("ServerMetadata", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex")
    },
    **{f"inference.GRPCInferenceService/{name}": {"sample", "score"} for name in ("ModelInfer", "ModelStreamInfer")},
    **{
        f"inference.GRPCInferenceService/{name}": {"admin"}
        for name in (
            *("RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"),
            *(
                f"{kind}SharedMemory{verb}"
                for kind in ("System", "Cuda")
                for verb in ("Status", "Register", "Unregister")
            ),
        )
    },
    **{f"grpc.health.v1.Health/{name}": ANYBODY for name in ("Check", "Watch", "List")},
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": USERS,
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": USERS,
}
OPEN = {
    *(f"grpc.health.v1.Health/{name}" for name in ("Check", "Watch", "List")),
    *(f"inference.GRPCInferenceService/{name}" for name in ("ServerLive", "ServerReady", "ModelReady")),
}


def methods() -> dict[str, bool]:
    """Return all methods of the server by their descriptors, and whether each streams responses."""
    reflection_v1(())  # which describes itself
    services: list[Any] = [
        service
        for module in (gan_service_pb2, admin_service_pb2, service_pb2, health_pb2, reflection_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    services.append(descriptor_pool.Default().FindServiceByName(REFLECTION_V1))
    found = {
        f"{service.full_name}/{method.name}": method.server_streaming
        for service in services
        for method in service.methods
    }
    return {**found, "grpc.health.v1.Health/List": False}  # which grpcio-health-checking may lack


def test_every_method_has_a_rule() -> None:
    assert {f"/{name}" for name in methods()} == RULES.keys()
    assert methods().keys() == ALLOWED.keys()


@dataclass(frozen=True)
class World:
    """A server for each way in, all of them with the same callers."""

    addresses: dict[str, str]
    callers: CallerFile
    keys: Keys
    authority: Authority
    guard: Guard
    look: Any

    @contextlib.asynccontextmanager
    async def channel(self, way: str, role: str = "") -> AsyncIterator[grpc.aio.Channel]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        if way == "plain":
            channel = grpc.aio.insecure_channel(self.addresses[way], options=options)
        else:
            shown: tuple[bytes, ...] = ()
            if way == "mutual":
                pair = self.authority.sign(f"client {role}", file=f"client-{role}")
                shown = pair.key.read_bytes(), pair.certificate.read_bytes()
            credentials = grpc.ssl_channel_credentials(self.authority.file.read_bytes(), *shown)
            channel = grpc.aio.secure_channel(self.addresses[way], credentials, options=options)
        async with channel:
            yield channel


@contextlib.asynccontextmanager
async def world(repository: Path, folder: Path, authority: Authority, **options: Any) -> AsyncIterator[World]:
    callers, keys = CallerFile(folder / "identities.toml"), Keys(folder)
    callers.issuer(keys.file.name)
    for role in ROLES:
        callers.certificate(f"client-{role}", "subject", f"CN=client {role}", role)
    pair = authority.sign("matrix", "127.0.0.1")
    models = Repository(
        repository,
        EngineConfig(provider="CPUExecutionProvider", threads=1),
        BatchConfig(max_batch_size=16, max_queued_samples=1000, workers=1),
    )
    models.load()
    authenticator = Authenticator(callers.file)
    servers: dict[str, GrpcServer] = {}
    addresses: dict[str, str] = {}
    guard = Guard()
    try:
        for way in ("plain", "tls", "mutual"):
            client_ca = authority.file if way == "mutual" else None
            files = PemFiles(certificate=pair.certificate, key=pair.key, client_ca=client_ca)
            guard = Guard(authenticator, certificates=way == "mutual", **options)
            server = servers[way] = GrpcServer(tls=None if way == "plain" else ServerTls(files), guard=guard)
            addresses[way] = f"127.0.0.1:{server.bind('127.0.0.1:0')}"
            await server.start(GanService(models))
        yield World(addresses, callers, keys, authority, servers["plain"].guard, authenticator.look)
    finally:
        for server in servers.values():
            await server.drain(0)
        models.close()


async def outcome(channel: grpc.aio.Channel, method: str, streams: bool, headers: tuple[tuple[str, str], ...]) -> str:
    """Call a method with an empty message; return whether it was let in."""
    make = channel.unary_stream if streams else channel.unary_unary
    call = make(f"/{method}")(b"", metadata=headers, timeout=20)
    said: grpc.aio.AioRpcError | None = None
    try:
        if streams:
            await call.read()  # a watch has no end
            call.cancel()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        said = error
    if said is None:
        return LET_IN
    code = said.code().name
    assert code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"), f"{method}: {said}"
    if code in (UNKNOWN, DENIED):
        assert "request-id" in str(said.trailing_metadata()), f"{method} has no request id"
        return code
    return LET_IN


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def all_methods(world: World, way: str, role: str, headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    async with world.channel(way, role) as channel:
        return {name: await outcome(channel, name, streams, headers) for name, streams in methods().items()}


def expected(role: str | None, *, health: bool = True) -> dict[str, str]:
    """Return the outcome of each method for a caller with a role, or for a stranger."""
    if role is None:
        return {name: LET_IN if health and name in OPEN else UNKNOWN for name in ALLOWED}
    return {name: LET_IN if role in roles else DENIED for name, roles in ALLOWED.items()}


@pytest.mark.parametrize("way", ["plain", "tls", "mutual"])
def test_strangers_only_learn_the_health(repository: Path, tmp_path: Path, authority: Authority, way: str) -> None:
    async def scenario() -> None:
        async with world(repository, tmp_path, authority) as here:
            late = here.callers.token("late", *ROLES, expires=PAST)
            revoked = here.callers.token("revoked", *ROLES)
            here.look()
            async with here.channel("plain") as channel:
                assert await outcome(channel, "ganserve.v1.GanService/ListModels", False, bearer(revoked)) == LET_IN
            here.callers.remove("revoked")
            here.look()
            jwts = here.keys
            strangers = {
                "nothing": (),
                "wrong": bearer("gsv_" + "x" * 43),
                "late": bearer(late),
                "revoked": bearer(revoked),
                "late JWT": bearer(jwts.token(ROLES, exp=1_000_000_000)),
                "JWT for another audience": bearer(jwts.token(ROLES, aud="other")),
                "other scheme": (("authorization", "Basic YTpi"),),
            }
            if way == "mutual":  # a certificate that no entry names
                del strangers["nothing"]
                assert await all_methods(here, way, "unknown", ()) == expected(None)
                here.callers.remove("certificate client-score")  # one that an entry named
                here.look()
                assert await all_methods(here, way, "score", ()) == expected(None)
            for name, headers in strangers.items():
                assert await all_methods(here, way, "sample", headers) == expected(None), name

    asyncio.run(scenario())


@pytest.mark.parametrize("role", ROLES)
def test_roles_allow_what_they_are_for(repository: Path, tmp_path: Path, authority: Authority, role: str) -> None:
    async def scenario() -> None:
        async with world(repository, tmp_path, authority) as here:
            token = here.callers.token(f"app-{role}", role)
            here.look()
            for way in ("plain", "tls", "mutual"):
                # On the way with certificates, the token counts before the certificate of another role.
                other = next(each for each in ROLES if each != role)
                assert await all_methods(here, way, other, bearer(token)) == expected(role), way
                assert await all_methods(here, way, other, bearer(here.keys.token([role]))) == expected(role), way
            assert await all_methods(here, "mutual", role, ()) == expected(role)
            assert await all_methods(here, "plain", role, bearer(here.keys.token([]))) == dict.fromkeys(ALLOWED, DENIED)

    asyncio.run(scenario())


def test_health_can_be_closed(repository: Path, tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        async with world(repository, tmp_path, authority, open_health=False) as here:
            assert await all_methods(here, "plain", "", ()) == expected(None, health=False)

    asyncio.run(scenario())


def test_a_method_without_a_rule_is_refused(
    repository: Path, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(RULES, "/ganserve.v1.GanService/ListModels")

    async def scenario() -> None:
        async with world(repository, tmp_path, authority) as here:
            token = here.callers.token("app", *ROLES)
            here.look()
            async with here.channel("plain") as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary("/ganserve.v1.GanService/ListModels")(b"", metadata=bearer(token))
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())
