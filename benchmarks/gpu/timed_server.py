"""Run `ganserve serve` and time its stages: timed_server.py FILE FLAGS…, where FILE is that of `server_stages.Stages`.

It wraps functions of ganserve_server and of onnxruntime by name, and fails at once if one has been renamed.
"""
# ruff: noqa: SLF001 - it times private functions

from __future__ import annotations

import functools
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import onnxruntime
from server_stages import Stages

from ganserve_server import service as gan
from ganserve_server.engine.engine import Engine
from ganserve_server.models.model import Model
from ganserve_server.queue.batcher import Batcher
from ganserve_server.service import GanService

if TYPE_CHECKING:
    from collections.abc import Callable

_call = (
    threading.local()
)  # of this worker: the number of requests that share its model call, and the seconds of the graph


def main() -> int:
    stages = Stages(Path(sys.argv[1]))
    stages.keep_writing()
    watch(stages)
    from ganserve_server.commands.serve import main as serve

    return serve(sys.argv[2:])


def watch(stages: Stages) -> None:
    """Wrap the functions of each stage."""

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                stages.add(stage, time.perf_counter() - start, getattr(_call, "requests", 1))

        return call

    # A model call draws latents, then runs the graph between two copies.
    onnxruntime.OrtValue.update_inplace = timed("copy in", onnxruntime.OrtValue.update_inplace)
    session = onnxruntime.InferenceSession
    session.run_with_iobinding = timed("compute", session.run_with_iobinding)
    onnxruntime.IOBinding.copy_outputs_to_cpu = timed("copy out", onnxruntime.IOBinding.copy_outputs_to_cpu)
    run, generate, take, answer = Engine.run, Model._generate, Batcher._take, GanService._answer

    def timed_run(self: Engine, *arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return run(self, *arguments)
        finally:
            _call.graph_s = time.perf_counter() - start

    def timed_generate(self: Model, slices: Any, worker: int) -> Any:
        _call.requests = len(slices)
        start = time.perf_counter()
        try:
            return generate(self, slices, worker)
        finally:
            stages.add("latents", time.perf_counter() - start - _call.graph_s, len(slices))
            _call.requests = 1

    def timed_take(self: Batcher[Any], room: int) -> Any:
        slices = take(self, room)
        now = time.monotonic()
        for ticket, part in slices:
            if part.start == 0:
                stages.add("queue", now - ticket.arrived)
        return slices

    async def timed_answer(self: GanService, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        answered = await answer(self, *arguments, **options)
        stages.add("request", time.perf_counter() - start)
        return answered

    Engine.run, Model._generate, Batcher._take, GanService._answer = timed_run, timed_generate, timed_take, timed_answer
    gan.set_sample_response = timed("encode", gan.set_sample_response)
    for name in ("unary_unary_rpc_method_handler", "unary_stream_rpc_method_handler"):
        setattr(grpc, name, _with_timed_serializer(getattr(grpc, name), timed))


def _with_timed_serializer(make: Callable[..., Any], timed: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap each serializer once, though handlers are made again around others."""
    known: set[int] = set()

    def made(behavior: Any, request_deserializer: Any = None, response_serializer: Any = None) -> Any:
        if response_serializer is not None and id(response_serializer) not in known:
            response_serializer = timed("serialise", response_serializer)
            known.add(id(response_serializer))
        return make(behavior, request_deserializer, response_serializer)

    return made


if __name__ == "__main__":
    sys.exit(main())
