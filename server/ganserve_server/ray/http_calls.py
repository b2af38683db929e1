"""Answer calls over HTTP as the Connect protocol has unary ones: POST /ganserve.v1.GanService/METHOD.

The body and the answer are the method's messages, as JSON (application/json) or as bytes (application/proto). An error
is JSON with `code` and `message`, and a status that fits. GET of any path says whether the replica serves.

https://connectrpc.com/docs/protocol#unary-request
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from starlette.responses import Response

from ganserve.v1 import gan_service_pb2
from ganserve_server.api.grpc.error_status import client_status
from ganserve_server.errors import NotFoundError, UnsupportedError, invalid_field
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

_Method = Callable[[GanService, Any], Awaitable[Message | bytes]]


async def _list_models(gan: GanService, _request: gan_service_pb2.ListModelsRequest) -> Message:
    return await asyncio.to_thread(gan.list_models)


async def _get_model(gan: GanService, request: gan_service_pb2.GetModelRequest) -> Message:
    return await asyncio.to_thread(gan.get_model, request)


_METHODS: dict[str, tuple[type[Message], type[Message], _Method]] = {
    "Sample": (gan_service_pb2.SampleRequest, gan_service_pb2.SampleResponse, GanService.sample_answer),
    "Score": (gan_service_pb2.ScoreRequest, gan_service_pb2.ScoreResponse, GanService.score_answer),
    "ListModels": (gan_service_pb2.ListModelsRequest, gan_service_pb2.ListModelsResponse, _list_models),
    "GetModel": (gan_service_pb2.GetModelRequest, gan_service_pb2.GetModelResponse, _get_model),
}


async def answer(gan: GanService, request: Request) -> Response:
    """Return the answer to an HTTP request."""
    if request.method == "GET":
        return Response("serving\n", media_type="text/plain")
    try:
        return await _called(gan, request)
    except Exception as error:  # noqa: BLE001 - the client gets a status, the log what is not its fault
        code, message, _ = client_status(error, request.url.path, request.headers.get("x-request-id", "none"))
        text = json.dumps({"code": code.name.lower(), "message": message})
        return Response(text, _HTTP_STATUS.get(code, 500), media_type=JSON)


async def _called(gan: GanService, request: Request) -> Response:
    service, _, method = request.url.path.strip("/").rpartition("/")
    if request.method != "POST" or service != _SERVICE or method not in _METHODS:
        known = ", ".join(f"POST /{_SERVICE}/{name}" for name in _METHODS)
        raise NotFoundError(f"{request.method} {request.url.path[:200]}: no such call. There are {known}")
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind not in (JSON, PROTO):
        raise UnsupportedError(f"content-type {kind[:100]}: not supported. Send {JSON} or {PROTO}")
    asked, answered, call = _METHODS[method]
    message = _parsed(asked(), await _body(gan, request), as_json=kind == JSON)
    result = await call(gan, message)
    if kind == JSON:
        result = answered.FromString(result) if isinstance(result, bytes) else result
        return Response(json_format.MessageToJson(result, indent=None), media_type=JSON)
    return Response(result if isinstance(result, bytes) else result.SerializeToString(), media_type=PROTO)


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
