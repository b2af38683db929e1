"""Answer calls over HTTP as the Connect protocol has unary ones: POST /ganserve.v1.GanService/METHOD.

The body and the answer are the method's messages, as JSON (application/json) or as bytes (application/proto). An error
is JSON with `code`, `message` and the details of google.rpc, and a status that fits. GET of any path says whether the
replica serves.

https://connectrpc.com/docs/protocol#unary-request
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2  # type: ignore[import-untyped]
from starlette.responses import Response

from ganserve.v1 import gan_service_pb2
from ganserve_server.api.grpc.error_status import DETAILS_KEY, client_status
from ganserve_server.errors import DeadlineExpiredError, NotFoundError, UnsupportedError, invalid_field
from ganserve_server.queue.memory_budget import Account
from ganserve_server.service import GanService

if TYPE_CHECKING:
    from starlette.requests import Request

JSON, PROTO = "application/json", "application/proto"
_SERVICE = gan_service_pb2.DESCRIPTOR.services_by_name["GanService"].full_name
_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_UNSUPPORTED_MEDIA_TYPE = 415
_MOST_TIMEOUT_DIGITS = 10

_Method = Callable[[GanService, Any, float | None, Account], Awaitable[Message | bytes]]


async def _sample(gan: GanService, request: Any, deadline: float | None, account: Account) -> Message | bytes:
    return await gan.sample_answer(request, deadline=deadline, account=account)


async def _score(gan: GanService, request: Any, deadline: float | None, account: Account) -> Message | bytes:
    return await gan.score_answer(request, deadline=deadline, account=account)


async def _list_models(gan: GanService, _request: Any, _deadline: float | None, _account: Account) -> Message:
    return await asyncio.to_thread(gan.list_models)


async def _get_model(gan: GanService, request: Any, _deadline: float | None, _account: Account) -> Message:
    return await asyncio.to_thread(gan.get_model, request)


_METHODS: dict[str, tuple[type[Message], type[Message], _Method]] = {
    "Sample": (gan_service_pb2.SampleRequest, gan_service_pb2.SampleResponse, _sample),
    "Score": (gan_service_pb2.ScoreRequest, gan_service_pb2.ScoreResponse, _score),
    "ListModels": (gan_service_pb2.ListModelsRequest, gan_service_pb2.ListModelsResponse, _list_models),
    "GetModel": (gan_service_pb2.GetModelRequest, gan_service_pb2.GetModelResponse, _get_model),
}


async def answer(gan: GanService, request: Request) -> Response:
    """Return the answer to an HTTP request."""
    if request.method == "GET":
        return Response("serving\n", media_type="text/plain")
    try:
        deadline = _deadline(request)
        return await asyncio.wait_for(
            _called(gan, request, deadline), None if deadline is None else max(0.0, deadline - time.monotonic())
        )
    except TimeoutError:
        return _failed(request, DeadlineExpiredError("the call's time, connect-timeout-ms, is over"))
    except Exception as error:  # noqa: BLE001 - the client gets a status, the log what is not its fault
        return _failed(request, error)


def _failed(request: Request, error: Exception, status: int = 0) -> Response:
    """Return the answer of a failed call, with the HTTP status of its code or the one given."""
    request_id = request.headers.get("x-request-id", "none")  # Ray's proxy gives each request one
    code, message, metadata = client_status(error, request.url.path, request_id)
    content: dict[str, Any] = {"code": code.name.lower(), "message": message}
    details = status_pb2.Status.FromString(dict(metadata).get(DETAILS_KEY, b"")).details
    if details:
        content["details"] = [
            {"type": detail.TypeName(), "value": base64.b64encode(detail.value).decode().rstrip("=")}
            for detail in details
        ]
    return Response(json.dumps(content), status or _HTTP_STATUS.get(code, 500), media_type=JSON)


def _deadline(request: Request) -> float | None:
    """Return the time of `time.monotonic()` at which the client gives up; None if it does not say."""
    text = request.headers.get("connect-timeout-ms")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_TIMEOUT_DIGITS):
        raise invalid_field("connect-timeout-ms", f"is {text[:100]!r}; expected milliseconds, of at most ten digits")
    return time.monotonic() + int(text) / 1000


async def _called(gan: GanService, request: Request, deadline: float | None) -> Response:
    # Ray leaves the application's route prefix at the front of the path.
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    service, _, method = path.strip("/").rpartition("/")
    if request.method != "POST" or service != _SERVICE or method not in _METHODS:
        known = ", ".join(f"POST /{_SERVICE}/{name}" for name in _METHODS)
        raise NotFoundError(f"{request.method} {path[:200]}: no such call. There are {known}")
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind not in (JSON, PROTO):
        unknown = UnsupportedError(f"content-type {kind[:100]}: not supported. Send {JSON} or {PROTO}")
        return _failed(request, unknown, _UNSUPPORTED_MEDIA_TYPE)
    compression = request.headers.get("content-encoding", "identity").strip().lower()
    if compression != "identity":
        raise UnsupportedError(f"content-encoding {compression[:100]}: not supported. Send the body uncompressed")
    asked, answered, call = _METHODS[method]
    body, account = await _body(gan, request), Account()
    account.request_bytes = len(body)
    # In threads, because millions of labels take seconds, in which the replica must answer others.
    message = await asyncio.to_thread(_parsed, asked(), body, as_json=kind == JSON)
    result = await call(gan, message, deadline, account)
    content = await asyncio.to_thread(_written, result, answered, as_json=kind == JSON)
    return Response(content, media_type=kind)


def _written(result: Message | bytes, kind: type[Message], *, as_json: bool) -> bytes:
    """Return an answer's bytes, or its JSON."""
    if as_json:
        message = kind.FromString(result) if isinstance(result, bytes) else result
        return json_format.MessageToJson(message, indent=None).encode()
    return result if isinstance(result, bytes) else result.SerializeToString()


async def _body(gan: GanService, request: Request) -> bytes:
    """Return the body, or refuse one that is too large."""
    most, parts, size = gan.limits.max_request_bytes, [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise invalid_field("body", f"has more than {most} bytes; send less at a time")
        parts.append(part)
    return b"".join(parts)


def _parsed(message: Message, body: bytes, *, as_json: bool) -> Message:
    """Return the message with the content of a body; raise InvalidRequestError if it is not one."""
    try:
        if as_json:
            return json_format.Parse(body or b"{}", message)
        message.ParseFromString(body)
    except (json_format.ParseError, DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid_field("body", f"is not a {message.DESCRIPTOR.name}: {str(error)[:300]}") from error
    return message
