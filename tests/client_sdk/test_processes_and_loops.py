"""Test clients where Python ends, copies, changes event loops, or is patched by gevent."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ganserve
from ganserve import AsyncClient, BestOf, Client, GanserveError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Api

AT_EXIT = """
import sys
import numpy
from ganserve import Client

class Holder:
    def __init__(self):
        self.client = Client({target!r}, model="tiny")
        self.stream = self.client.{call}
        next(self.stream)

    def __del__(self):
        self.client.close()

holder = Holder()
{keep}
print("end", flush=True)
"""


@pytest.mark.parametrize("keep", ["", "holder.cycle = holder", "sys.modules['held'] = holder"])
@pytest.mark.parametrize(
    "call",
    ["stream(10**6, chunk_size=1)", "score_stream([numpy.zeros((8, 8), 'u1')] * 10**6, 1)"],
    ids=["stream", "score_stream"],
)
def test_python_ends_while_a_stream_is_open(server: str, call: str, keep: str) -> None:
    """With a `__del__` that closes the client, it used to hang."""
    code = AT_EXIT.format(target=server, call=call, keep=keep)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_clients_and_streams_are_not_copied(connect: Callable[..., Api], duplicate: Callable[..., object]) -> None:
    client = connect("localhost:1").client
    kind = type(client).__name__
    with pytest.raises(TypeError, match=f"{kind} cannot be pickled or copied: its connections belong to this process"):
        duplicate(client)
    for stream in (client.stream(1), client.score_stream([])):
        with pytest.raises(TypeError, match="Stream cannot be pickled or copied"):
            duplicate(stream)


def test_results_and_errors_are_pickled(api: Api) -> None:
    batch = api.sample(2, "one", model="tiny", return_scores=True, return_latents=True, select=BestOf(2))
    scores = api.score(batch)
    for result in (batch, batch[0], scores, scores[0], api.model("tiny"), api.models(), batch.selection):
        assert repr(pickle.loads(pickle.dumps(result))) == repr(result)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(batch)).samples, batch.samples)
    with pytest.raises(ganserve.InvalidRequest) as caught:
        api.sample(1, "nine", model="tiny")
    error = pickle.loads(pickle.dumps(caught.value))
    assert (type(error), str(error), vars(error)) == (ganserve.InvalidRequest, str(caught.value), vars(caught.value))


def test_a_stream_belongs_to_its_event_loop(server: str) -> None:
    async def begin() -> ganserve.AsyncSampleStream:
        stream = client.stream(100, model="tiny", chunk_size=1)
        await anext(stream)
        return stream

    async def proceed() -> None:
        await anext(stream)

    client = AsyncClient(server)
    with asyncio.Runner() as runner:
        stream = runner.run(begin())
        with asyncio.Runner() as other, pytest.raises(GanserveError, match="belongs to another event loop"):
            other.run(proceed())
        runner.run(client.close())


@pytest.mark.parametrize("initialised", [False, True])
def test_gevent_without_grpcs_part_is_refused(initialised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkey = SimpleNamespace(is_module_patched=lambda name: name == "threading")
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)  # type: ignore[arg-type]
    if initialised:
        monkeypatch.setitem(sys.modules, "grpc.experimental.gevent", SimpleNamespace())  # type: ignore[arg-type]
        Client("localhost:1").close()
    else:
        with pytest.raises(GanserveError, match=r"call grpc\.experimental\.gevent\.init_gevent\(\) after"):
            Client("localhost:1")
