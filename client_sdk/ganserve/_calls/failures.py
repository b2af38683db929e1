"""Turn gRPC's errors into the SDK's errors, with a message that says what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import grpc
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # ships no stubs
from grpc_status import rpc_status

from ganserve import _errors as errors
from ganserve._calls.tls_failures import tls_failure
from ganserve._config import TARGET_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no stubs

    from ganserve._calls.rotation import Endpoint

REQUEST_ID_KEY = "x-request-id"

_CLASSES: dict[grpc.StatusCode, type[errors.GanserveError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: errors.ModelNotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.UnsupportedByModel,
    grpc.StatusCode.UNIMPLEMENTED: errors.UnsupportedByServer,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ServerOverloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: errors.ServerUnavailable,
    grpc.StatusCode.UNAUTHENTICATED: errors.AccessDenied,
    grpc.StatusCode.PERMISSION_DENIED: errors.AccessDenied,
    grpc.StatusCode.CANCELLED: errors.RequestCancelled,
}  # every other status is a ServerError

# Details of INTERNAL that mean a broken connection: grpc.aio's if it breaks while a message is being sent, that of a
# stream whose proxy (Envoy) has lost its server, and that of Ray Serve's proxy if a replica dies.
_BROKE = re.compile(r"Internal error from Core|.*RST_STREAM|The actor (died|\S+ is unavailable)")
# gRPC's messages if there never was a connection.
_NEVER_CONNECTED = ("failed to connect", "connections to all backends failing", "resolution", "resolving")
_NO_TARGET = "target uri is not valid"
_METADATA_SIZE = "metadata size exceeds"
_ARGUMENTS = {
    "count": "n",
    "label_indices": "label",
    "label_names": "label",
    "mix": "mix_seed",
    "mix.from_layer": "mix_from",
    "samples": "images",
}


class _Failure(Protocol):
    """The interface that the errors of grpc and grpc.aio share."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


@dataclass(frozen=True, slots=True)
class _RichDetails:
    """The google.rpc details of a status, as far as the SDK uses them."""

    violations: tuple[errors.FieldViolation, ...] = ()
    retry_after_s: float | None = None
    request_id: str | None = None
    present: bool = False

    @classmethod
    def of(cls, failure: _Failure) -> _RichDetails:
        try:
            status = cast("Status | None", rpc_status.from_call(failure))
        except ValueError:  # a proxy changed the status, which now contradicts the details: ignore these
            status = None
        if status is None:
            return cls()
        violations: list[errors.FieldViolation] = []
        retry_after_s = request_id = None
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        info = error_details_pb2.RequestInfo()
        for detail in status.details:
            if detail.Unpack(bad_request):
                violations += [
                    errors.FieldViolation(_argument(each.field), _in_words(each.description))
                    for each in bad_request.field_violations
                ]
            elif detail.Unpack(retry):
                retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            elif detail.Unpack(info):
                request_id = info.request_id
        return cls(tuple(violations), retry_after_s, request_id or None, present=True)


def from_rpc_error(
    error: grpc.RpcError, *, endpoint: Endpoint, request_id: str, timeout_s: float
) -> errors.GanserveError:
    """Return the SDK's error for one of grpc or grpc.aio; the caller raises it `from None`."""
    failure = cast("_Failure", error)
    target = endpoint.target
    code, details = failure.code(), failure.details() or ""
    rich = _RichDetails.of(failure)
    if code is grpc.StatusCode.INTERNAL and _BROKE.match(details):
        code = grpc.StatusCode.UNAVAILABLE
    if _NO_TARGET in details:
        return errors.InvalidRequest.of("target", f'is {target!r}; expected "host:port" or a target that gRPC knows')
    if _METADATA_SIZE in details:  # an interceptor's; the client's own is checked when it is made
        return errors.InvalidRequest.of("metadata", f"is too large ({details})")
    kind = _CLASSES.get(code, errors.ServerError)
    if kind is errors.ServerOverloaded and rich.retry_after_s is None and "larger than max" in details:
        kind = errors.MessageTooLarge
    server_id = rich.request_id or _metadata_request_id(failure)
    answered = rich.present or server_id is not None
    message = _message(kind, code, _in_words(details), rich, answered=answered, endpoint=endpoint, timeout_s=timeout_s)
    if answered or not _never_connected(details):  # only then a server may have the id in its log
        message += f" (request id {server_id or request_id})"
    result = kind(
        message,
        code=code.name,
        details=details,
        violations=rich.violations,
        request_id=server_id or request_id,
    )
    if isinstance(result, errors.ServerOverloaded):
        result.retry_after_s = rich.retry_after_s
    return result


def _argument(field: str) -> str:
    """Return the client's argument for a message's field, such as "n" for "request.count"."""
    whole = field.removeprefix("request.")
    name = whole.partition(".")[0]
    return _ARGUMENTS.get(whole) or _ARGUMENTS.get(name, name)


def _in_words(text: str) -> str:
    """Return a server's text with the SDK's words for encodings and noise: png for ENCODING_PNG."""
    return re.sub(r"\b(?:ENCODING|NOISE_MODE)_([A-Z0-9]+)", lambda found: found[1].lower(), text)


def never_connected(failure: errors.GanserveError) -> bool:
    """Return whether a call failed before there was a connection, so that no server saw it."""
    return failure.code == grpc.StatusCode.UNAVAILABLE.name and _never_connected(failure.details)


def _never_connected(details: str) -> bool:
    return any(words in details.lower() for words in _NEVER_CONNECTED)


def _metadata_request_id(failure: _Failure) -> str | None:
    for key, value in failure.trailing_metadata() or ():
        if key == REQUEST_ID_KEY:
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return None


def _message(
    kind: type[errors.GanserveError],
    code: grpc.StatusCode,
    details: str,
    rich: _RichDetails,
    *,
    answered: bool,
    endpoint: Endpoint,
    timeout_s: float,
) -> str:
    """Return the error's message. `answered`: the server sent this status, not gRPC on this side."""
    target = endpoint.target
    if kind is errors.ServerUnavailable and not answered and (message := tls_failure(details, endpoint)):
        return message
    if kind is errors.ServerUnavailable and not answered:
        if not _never_connected(details):
            return f"the connection to the server at {target} broke ({details}): see its log, or try again"
        # gRPC lists its earlier attempts first.
        reason = details.rpartition("last error: ")[2].rpartition("remote host: ")[2]
        if (proxy := endpoint.proxy) is not None:
            return (
                f"no server answers at {target} through the proxy {proxy.address} ({reason}): correct the environment "
                f"variable {proxy.variable}, or add the server to no_proxy"
            )
        return (
            f"no server answers at {target} ({reason}): start one with `ganserve serve --models models`, or say where "
            f'it is: Client("host:port"), --target or the environment variable {TARGET_VARIABLE}'
        )
    if kind is errors.DeadlineExceeded and not answered:
        return f"{target} did not answer within {timeout_s:.3g} s: raise timeout_s, request fewer samples, or stream"
    if kind is errors.MessageTooLarge:
        return f"{details}: request fewer samples in one call, or use stream()"
    if kind is errors.UnsupportedByServer:
        return f"the server at {target} does not do that: {details or 'not implemented'}"
    if kind is errors.ServerError:
        return f"the server at {target} failed ({code.name}): {details or 'it gave no reason'}"
    if rich.violations:
        return "; ".join(f"{violation.field}: {violation.description}" for violation in rich.violations)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return (
            f"{details or 'the server wants to know who calls'}: token=…, --token-file or GANSERVE_TOKEN gives a token"
        )
    if kind is errors.ServerOverloaded and rich.retry_after_s is not None:
        return f"{details}: try again in {rich.retry_after_s:g} s"
    return details or code.name


def client_closed() -> errors.ClientClosed:
    """Return the error of a call of a closed client."""
    return errors.ClientClosed("this client is closed: make a new one, or keep the calls inside its with block")


def closed_during(what: str, request_id: str) -> errors.RequestCancelled:
    """Return the error of a call or stream that `close()` ended."""
    return errors.RequestCancelled(f"the client was closed during this {what}", code="CANCELLED", request_id=request_id)
