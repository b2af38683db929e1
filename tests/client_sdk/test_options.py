"""Test encodings, selections, priorities, metadata, interceptors, compression, forks and threads."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

import ganserve
from ganserve import BestOf, Client, InvalidRequest, Rejection, SampleBatch, SelectionReport, UnsupportedByModel
from ganserve.v1 import gan_service_pb2
from scripted_server import Script, scripted_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Api


@pytest.mark.parametrize("encoding", ["png", "raw"])
@pytest.mark.parametrize(("model", "shape"), [("tiny", (8, 8, 1)), ("tiny-rgb", (16, 12, 3))])
def test_lossless_encodings_give_equal_arrays(api: Api, encoding: Any, model: str, shape: tuple[int, ...]) -> None:
    plain = api.sample(5, model=model, seed=1)
    encoded = api.sample(5, model=model, seed=1, encoding=encoding)
    assert encoded.samples.shape == (5, *shape)
    np.testing.assert_array_equal(encoded.samples, plain.samples)
    streamed = SampleBatch.concatenate(api.batches(5, model=model, seed=1, encoding=encoding, chunk_size=2))
    np.testing.assert_array_equal(streamed.samples, plain.samples)


@pytest.mark.parametrize("encoding", ["jpeg", "webp"])
@pytest.mark.parametrize("model", ["tiny", "tiny-rgb"])
def test_lossy_encodings_give_arrays_of_the_same_shape(api: Api, encoding: Any, model: str) -> None:
    plain = api.sample(5, model=model, seed=1)
    encoded = api.sample(5, model=model, seed=1, encoding=encoding)
    assert (encoded.samples.shape, encoded.samples.dtype) == (plain.samples.shape, np.uint8)
    np.testing.assert_array_equal(encoded.labels, plain.labels)
    streamed = SampleBatch.concatenate(api.batches(5, model=model, seed=1, encoding=encoding, chunk_size=2))
    np.testing.assert_array_equal(streamed.samples, encoded.samples)


def test_float32_gives_fractions(api: Api) -> None:
    plain = api.sample(5, model="tiny", seed=1)
    encoded = api.sample(5, model="tiny", seed=1, encoding="float32")
    assert encoded.samples.dtype == np.float32
    np.testing.assert_array_equal(encoded.samples, plain.samples.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(encoded.images, plain.images)
    np.testing.assert_array_equal(encoded[0].image, plain[0].image)


def test_vectors_cannot_be_encoded_as_pictures(api: Api) -> None:
    with pytest.raises((InvalidRequest, UnsupportedByModel), match=r"png|PNG|encod"):
        api.sample(1, model="tiny-vector", encoding="png")
    assert api.sample(2, model="tiny-vector", encoding="float32").samples.dtype == np.float32


def test_best_of_n(api: Api) -> None:
    batch = api.sample(20, "one", model="tiny", seed=1, select=BestOf(8), return_scores=True)
    assert batch.selection == SelectionReport(proposed=160, accepted=20)
    assert batch.selection.acceptance_rate == 0.125
    plain = api.sample(20, "one", model="tiny", seed=1, return_scores=True)
    assert batch.scores.mean() > plain.scores.mean()
    assert batch[:3].selection is None
    streamed = SampleBatch.concatenate(api.batches(20, "one", model="tiny", seed=1, select=BestOf(8), chunk_size=6))
    np.testing.assert_array_equal(streamed.samples, batch.samples)
    assert streamed.selection == batch.selection
    assert "selected from 160 (12% accepted)" in repr(batch)


def test_rejection(api: Api) -> None:
    batch = api.sample(10, model="tiny", seed=1, select=Rejection(max_proposals=16))
    assert batch.selection is not None
    assert 10 <= batch.selection.proposed <= 160
    assert batch.selection.accepted <= 10
    assert SelectionReport(proposed=0, accepted=0).acceptance_rate == 0.0


def test_a_selection_needs_a_critic(api: Api) -> None:
    with pytest.raises(UnsupportedByModel, match="critic"):
        api.sample(1, 0, model="tiny-uncritical", select=BestOf(2))


@pytest.mark.parametrize("proposals", [0, 1025, 2.0, True, "8"])
def test_bad_selections(connect: Callable[..., Api], closed_port: str, proposals: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"select: has proposals = .*; expected an int from 1 to 1024"):
        BestOf(proposals)
    with pytest.raises(InvalidRequest, match=r"select: has max_proposals = .*; expected an int from 1 to 1024"):
        Rejection(max_proposals=proposals)
    api = connect(closed_port)
    with pytest.raises(InvalidRequest, match="select: is 8; expected BestOf"):
        api.sample(1, select=8)
    with pytest.raises(InvalidRequest, match=r"offset: is .*proposals of at most 2\^48: use another seed"):
        api.sample(1, select=BestOf(1024), offset=2**40)
    with pytest.raises(InvalidRequest, match="select: cannot be combined with latents"):
        api.sample(1, select=BestOf(8), latents=[[0.0]])


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_priorities_change_no_sample(api: Api, priority: Any) -> None:
    expected = api.sample(3, model="tiny", seed=1)
    np.testing.assert_array_equal(api.sample(3, model="tiny", seed=1, priority=priority).samples, expected.samples)
    scores = api.score(expected, priority=priority)
    assert len(scores) == 3


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_server() as script:
        script.next = _note(script)  # type: ignore[method-assign]
        yield script


def _note(script: Script) -> Any:
    def answer(request: Any, context: Any) -> Any:
        script.requests.append(request)
        script.metadata.append(dict(context.invocation_metadata()))
        return gan_service_pb2.ListModelsResponse()

    return answer


@pytest.mark.parametrize(
    "metadata",
    [{"authorization": "Bearer x", "trace-bin": b"\0\1"}, [("authorization", "Bearer x"), ("trace-bin", b"\0\1")]],
)
def test_metadata_goes_with_every_call(connect: Callable[..., Api], script: Script, metadata: Any) -> None:
    connect(script.address, metadata=metadata).models()
    sent = script.metadata[0]
    assert (sent["authorization"], sent["trace-bin"]) == ("Bearer x", b"\0\1")
    assert len(sent["x-request-id"]) == 16
    assert sent["user-agent"].startswith(f"ganserve-python/{ganserve.__version__}")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"Authorization": "x"}, "has the name 'Authorization'; expected a name of a-z"),
        ({"x-request-id": "x"}, "not ganserve's or gRPC's"),
        ({"a": 1}, "has an int as a; expected a str"),
        ({"a-bin": "x"}, "expected bytes, because its name ends in -bin"),
        ([("a", "b", "c")], "expected pairs of a name and a value"),
        (["ab"], "expected pairs of a name and a value"),
        (None, "is None; expected a dict"),
        (5, "is an int; expected a dict"),
        ("ab", "is a str; expected a dict"),
        ({"grpc-timeout": "1S"}, "has the name 'grpc-timeout'"),
        ({"content-type": "x"}, "has the name 'content-type'"),
        ({"authorization": "Bearer secret\n"}, r"has the character '\\n' in authorization; .*: strip it$"),
        ({"a": "a\tb"}, r"has the character '\\t' in a; .*: use a name that ends in -bin, as a-bin$"),
        ({"a": "é"}, r"has the character '\\xe9' in a; expected printable ASCII"),
        ({"a": "\ud800"}, r"has the character '\\ud800' in a; expected printable ASCII"),
        ({"a": "secret" * 2000}, "has 12033 bytes; expected at most 7168"),
    ],
)
def test_bad_metadata(connect: Callable[..., Api], metadata: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        connect("localhost", metadata=metadata)
    assert "secret" not in str(caught.value)


def test_servers_take_as_much_metadata_as_the_client(connect: Callable[..., Api], server: str) -> None:
    api = connect(server, metadata={"a": "x" * (7 * 1024 - 33)})
    for _ in range(50):  # gRPC refuses some of the calls above its soft limit
        api.models()


class _Adds(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details._replace(metadata=[*(details.metadata or ()), ("added", "yes")]), request)

    intercept_unary_stream = intercept_unary_unary


class _AddsAsync(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        details.metadata.add("added", "yes")
        return await continuation(details, request)


def test_interceptors_see_every_call(connect: Callable[..., Api], script: Script) -> None:
    blocking = isinstance(connect("localhost").client, Client)
    api = connect(script.address, interceptors=[_Adds() if blocking else _AddsAsync()])
    api.models()
    assert script.metadata[0]["added"] == "yes"


def test_interceptors_see_streams(server: str) -> None:
    seen: list[str] = []

    class Sees(grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
        def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
            seen.append(details.method)
            return continuation(details, request)

    with Client(server, interceptors=[Sees()]) as client:
        batches = list(client.stream(100, model="tiny", chunk_size=30))
    assert [len(batch) for batch in batches] == [30, 30, 30, 10]
    assert seen == ["/ganserve.v1.GanService/StreamSamples"]


@contextlib.contextmanager
def counting_relay(target: str) -> Iterator[tuple[str, list[int]]]:
    """Run a TCP relay to a server that counts the bytes that clients send."""
    sent = [0]
    host, port = target.split(":")

    def pump(source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sent[0] += len(data) * counts
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                upstream = socket.create_connection((host, int(port)))
                for source, sink, counts in ((client, upstream, True), (upstream, client, False)):
                    threading.Thread(target=pump, args=(source, sink, counts), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", sent


def test_compression_reduces_the_bytes_sent(connect: Callable[..., Api], server: str) -> None:
    images = np.zeros((4096, 8, 8), np.uint8)
    sent = {}
    for compression in ("none", "deflate", "gzip"):
        with counting_relay(server) as (target, count):
            api = connect(target, compression=compression)
            assert len(api.score(images, 1, model="tiny")) == 4096
            sent[compression] = count[0]
            api.close()
    assert sent["none"] > images.nbytes
    assert sent["gzip"] < images.nbytes / 20
    assert sent["deflate"] < images.nbytes / 20
    with pytest.raises(InvalidRequest, match="compression: is 'zip'; expected one of 'none', 'deflate', 'gzip'"):
        connect(server, compression="zip")


FORKED = """
import os, sys
from ganserve import Client, GanserveError
client = make()
stream = client.stream(10**6, model="tiny", chunk_size=100)
next(stream)
sys.stdout.flush()
child = os.fork()
if child == 0:
    code = 1
    try:
        try:
            client.sample(1, model="tiny")
        except GanserveError as error:
            assert f"made in process {os.getppid()}, of which this one is a fork" in str(error), error
            assert "spawn or forkserver, or close clients before a fork" in str(error)
            client.close()  # leaves the parent's connections alone
            del stream
            code = 7
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in ENDS
assert len(client.sample(3, model="tiny")) == 3
assert len(next(stream)) == 100
stream.close()
client.close()
print("done")
"""


@pytest.mark.parametrize("kind", ["remote", "local"])
def test_a_fork_is_refused_and_does_not_disturb_its_parent(kind: str, request: pytest.FixtureRequest) -> None:
    where = request.getfixturevalue("server" if kind == "remote" else "repository")
    made = f"Client({where!r})" if kind == "remote" else f"Client.local({str(where)!r})"
    # A local client's own server runs gRPC's threads, which may crash the fork before it is refused.
    ends = (7,) if kind == "remote" else (7, -signal.SIGSEGV)
    code = FORKED.replace("make()", made).replace("ENDS", repr(tuple(map(int, ends))))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("kind", ["remote", "local"])
def test_one_client_for_many_threads(kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "remote":
        client = Client(request.getfixturevalue("server"))
    else:
        client = Client.local(request.getfixturevalue("repository"))
    with client:
        expected = client.sample(400, model="tiny", seed=1, return_scores=True)
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for _ in range(5):
                    batch = client.sample(20, model="tiny", seed=1, offset=number)
                    np.testing.assert_array_equal(batch.samples, expected.samples[number : number + 20])
                    with client.stream(400, model="tiny", seed=1, chunk_size=60 + number) as stream:
                        streamed = SampleBatch.concatenate(list(stream))
                    np.testing.assert_array_equal(streamed.samples, expected.samples)
                    scores = list(client.score_stream([expected[:9], expected[9:20]]))
                    np.testing.assert_array_equal(scores[1].scores, expected.scores[9:20])
            except BaseException as error:  # noqa: BLE001 - reported below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
