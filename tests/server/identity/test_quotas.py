"""Test how much a caller may ask for: calls, samples, both at once and in the queue; and how the SDK obeys."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from callers import CallerFile
from ganserve import Client, ServerOverloaded, UnsupportedByModel
from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc
from ganserve_server.errors import FailedPreconditionError, QuotaError
from ganserve_server.identity.identity import Identity, ModelPatterns
from ganserve_server.identity.quota_settings import Quota, QuotaSettings
from ganserve_server.identity.quotas import OTHERS, Quotas
from server_process import ServerProcess, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    """A clock that the test sets; it stands for `time.monotonic`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def app(name: str = "app", *roles: str) -> Identity:
    return Identity(name=name, roles=frozenset(roles or ("sample",)), models=ModelPatterns("*"))


def only(quota: Quota) -> QuotaSettings:
    return QuotaSettings(default=quota)


def test_a_quota_is_the_callers_own_else_its_roles_else_the_default() -> None:
    small, large, own = Quota(requests_per_s=1), Quota(requests_per_s=5, queued_samples=9), Quota(samples_per_s=3)
    settings = QuotaSettings(default=Quota(), roles={"sample": small, "score": large}, callers={"vip": own})
    assert settings.of(app("vip")) is own
    assert settings.of(app("x", "sample")) == small
    assert settings.of(app("x", "sample", "score")) == Quota(requests_per_s=5, queued_samples=0)
    assert settings.of(app("x", "admin")) == Quota()
    assert QuotaSettings().of(app()) is None


def test_calls_a_second_come_back_with_time(clock: Clock) -> None:
    quotas, settings = Quotas(), only(Quota(requests_per_s=2))
    for _ in range(2):
        quotas.enter(app(), settings)
    with pytest.raises(QuotaError, match="the quota of app is used up: it may make 2 calls a second") as caught:
        quotas.enter(app(), settings)
    assert caught.value.retry_after_s == 0.5
    assert quotas.enter(app("other"), settings), "callers do not share"
    clock.now += 0.5
    quotas.enter(app(), settings)
    clock.now += 1000
    for _ in range(2):
        quotas.enter(app(), settings)
    with pytest.raises(QuotaError):
        quotas.enter(app(), settings)
    assert quotas.refused() == {("app", "requests_per_s"): 2}


def test_calls_at_once_are_counted_until_they_end() -> None:
    quotas, settings = Quotas(), only(Quota(concurrent_calls=2))
    first, _ = quotas.enter(app(), settings), quotas.enter(app(), settings)
    with pytest.raises(QuotaError, match="2 calls run already"):
        quotas.enter(app(), settings)
    assert first is not None
    first.leave()
    quotas.enter(app(), settings)


def test_a_changed_quota_still_counts_calls_that_run() -> None:
    quotas = Quotas()
    before = quotas.enter(app(), only(Quota(concurrent_calls=1)))
    assert before is not None
    quotas.enter(app(), only(Quota(concurrent_calls=2)))
    with pytest.raises(QuotaError):
        quotas.enter(app(), only(Quota(concurrent_calls=2)))
    before.leave()
    quotas.enter(app(), only(Quota(concurrent_calls=2)))


def test_tokens_of_one_name_do_not_refill_each_others_quota(clock: Clock) -> None:
    quotas, entered = Quotas(), 0
    settings = QuotaSettings(roles={"sample": Quota(requests_per_s=2), "score": Quota(requests_per_s=1)})
    for _ in range(20):
        for role in ("sample", "score"):
            with contextlib.suppress(QuotaError):
                quotas.enter(app("app", role), settings)
                entered += 1
    assert 1 <= entered <= 2, "a second's worth"
    clock.now += 1
    assert quotas.enter(app("app", "sample"), settings)


def test_samples_a_second_are_paid_back(clock: Clock) -> None:
    async def scenario() -> None:
        quota = Quotas().enter(app(), only(Quota(samples_per_s=10)))
        assert quota is not None
        async with quota.samples(25, wait=False):  # more than a second's worth, once
            pass
        with pytest.raises(QuotaError, match="10 samples a second") as caught:
            async with quota.samples(1, wait=False):
                pass
        assert caught.value.retry_after_s == 1.6
        clock.now += 1.6
        async with quota.samples(1, wait=False):
            quota.charge(100)
        with pytest.raises(QuotaError):
            async with quota.samples(1, wait=False):
                pass

    asyncio.run(scenario())


def test_samples_in_the_queue_are_bounded() -> None:
    async def scenario() -> None:
        quota = Quotas().enter(app(), only(Quota(queued_samples=10)))
        assert quota is not None
        with pytest.raises(FailedPreconditionError, match="11 samples are more than app may have in the queue, 10"):
            async with quota.samples(11, wait=False):
                pass
        async with quota.samples(6, wait=False):
            with pytest.raises(QuotaError, match="6 samples wait already, of 10"):
                async with quota.samples(5, wait=False):
                    pass
            stream = asyncio.create_task(quota.samples(20, wait=True).__aenter__())
            await asyncio.sleep(0)
            assert not stream.done(), "a stream waits"
        await stream
        assert quota.queued == 20

    asyncio.run(scenario())


def test_metrics_name_a_hundred_callers(clock: Clock) -> None:
    quotas, settings = Quotas(), only(Quota(requests_per_s=1))
    for number in range(150):
        quotas.enter(app(f"app{number}"), settings)
        with pytest.raises(QuotaError):
            quotas.enter(app(f"app{number}"), settings)
    refused = quotas.refused()
    assert len(refused) == 101
    assert refused[OTHERS, "requests_per_s"] == 50


@pytest.fixture(scope="module")
def limited(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, CallerFile]]:
    callers = CallerFile(tmp_path_factory.mktemp("quotas") / "identities.toml")
    callers.add("quotas", "[quotas.callers.slow]\nrequests_per_s = 2\n\n[quotas.callers.small]\nqueued_samples = 50\n")
    callers.add(
        "more", "[quotas.callers.drawing]\nsamples_per_s = 100\n\n[quotas.callers.single]\nconcurrent_calls = 1\n"
    )
    for name in ("slow", "small", "drawing", "single"):
        (callers.file.parent / name).write_text(callers.token(name, "sample", "score"))
    with running_server(repository, "--identities", str(callers.file)) as server:
        yield server, callers


def token(limited: tuple[ServerProcess, CallerFile], name: str) -> str:
    return (limited[1].file.parent / name).read_text()


def test_the_sdk_obeys(limited: tuple[ServerProcess, CallerFile]) -> None:
    with Client(limited[0].address, token=token(limited, "slow")) as client:
        while "RESOURCE_EXHAUSTED" not in limited[0].log:  # usually the third call, which the SDK repeats
            client.sample(1, model="tiny")
    with (
        Client(limited[0].address, token=token(limited, "slow"), max_attempts=1) as client,
        pytest.raises(ServerOverloaded, match="the quota of slow is used up") as caught,
    ):
        list(iter(client.models, None))
    assert caught.value.retry_after_s


def test_a_refusal_tells_the_quota(limited: tuple[ServerProcess, CallerFile]) -> None:
    with grpc.insecure_channel(limited[0].address) as channel:
        gan = gan_service_pb2_grpc.GanServiceStub(channel)
        metadata = [("authorization", f"Bearer {token(limited, 'single')}")]
        request = gan_service_pb2.SampleRequest(model="tiny", count=10**9)
        stream = gan.StreamSamples(gan_service_pb2.StreamSamplesRequest(request=request), metadata=metadata)
        next(stream)
        with pytest.raises(grpc.RpcError) as caught:
            gan.ListModels(gan_service_pb2.ListModelsRequest(), metadata=metadata)
        stream.cancel()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(caught.value)
    failure, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(failure)
    assert status.details[1].Unpack(retry)
    assert [(each.subject, each.description) for each in failure.violations] == [("caller:single", "concurrent_calls")]
    assert retry.retry_delay.ToNanoseconds() > 0


def test_streams_are_slowed_and_large_calls_refused(limited: tuple[ServerProcess, CallerFile]) -> None:
    with Client(limited[0].address, token=token(limited, "drawing")) as client:
        assert sum(len(batch) for batch in client.stream(400, model="tiny")) == 400
    with Client(limited[0].address, token=token(limited, "small")) as client:
        with pytest.raises(UnsupportedByModel, match="51 samples are more than small may have in the queue"):
            client.sample(51, model="tiny")
        assert len(client.sample(50, model="tiny")) == 50
        assert sum(len(batch) for batch in client.stream(300, model="tiny")) == 300
