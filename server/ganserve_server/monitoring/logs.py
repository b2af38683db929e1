"""Log lines as text or JSON, each with the id of the call that it belongs to, and one line for a call that ended."""

from __future__ import annotations

import collections
import datetime
import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

from ganserve_server.monitoring.calls import OK, current_call

if TYPE_CHECKING:
    from ganserve_server.monitoring.calls import Call

AccessLevel = Literal["all", "errors", "off"]
LogFormat = Literal["text", "json"]

# A server that turns thousands of calls a second away must not spend its time on saying so: of each status so many
# lines in a row, and so many a second after that.
_MOST_IN_A_ROW, _LINES_PER_S = 10.0, 1.0
# What every record has; the rest was given with it, to be shown as a field of its own.
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request_id"}
_access_log = logging.getLogger("ganserve_server.access")


def set_up_logging(level: str, log_format: LogFormat) -> None:
    """Send the log of the whole process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_add_request_id)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def _add_request_id(record: logging.LogRecord) -> bool:
    call = current_call.get()
    record.request_id = "" if call is None else call.request_id
    return True


class TextFormatter(logging.Formatter):
    """One line for people; the call's id stands behind the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line, without a traceback."""
        # Messages quote clients and files: a line break of theirs must not begin a line of ours.
        line = super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")
        request_id = getattr(record, "request_id", "")
        return f"{line} [request id {request_id}]" if request_id else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        fields: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", ""):
            fields["request_id"] = request_id
        fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class AccessLog:
    """Writes one line for each call that ended, or for each that failed."""

    def __init__(self, level: AccessLevel = "errors") -> None:
        """Write to the logger `ganserve_server.access`, at the level info.

        Args:
            level: "errors": only calls that did not end well, and of each status so few that a flood does no harm;
                the next line of the status tells how many were left out.
        """
        self.level = level
        self._allowances: dict[str, _Allowance] = collections.defaultdict(_Allowance)

    def wants(self, code: str) -> bool:
        """Whether a call that ended with this status is to be written."""
        if self.level == "off" or (code == OK and self.level != "all") or not _access_log.isEnabledFor(logging.INFO):
            return False
        return self.level == "all" or self._allowances[code].take()

    def write(self, call: Call, duration_s: float, peer: str) -> None:
        """Write the line."""
        milliseconds = round(duration_s * 1e3, 3)
        fields: dict[str, Any] = {"method": call.method, "code": call.code, "duration_ms": milliseconds, "peer": peer}
        if model := _model(call.request):
            fields["model"] = model
        text = f"{call.method} {call.code} in {milliseconds:g} ms"
        if call.message:
            text += f": {call.message}"
        if left_out := self._allowances[call.code].told():
            fields["left_out"] = left_out
            text += f" ({left_out} more calls that failed so were left out before it)"
        _access_log.info("%s", text, extra=fields)


class _Allowance:
    """How many lines may be written."""

    def __init__(self) -> None:
        self._lines = _MOST_IN_A_ROW
        self._refilled = time.monotonic()
        self._left_out = 0

    def take(self) -> bool:
        """Whether one more may be written."""
        now = time.monotonic()
        self._lines = min(_MOST_IN_A_ROW, self._lines + (now - self._refilled) * _LINES_PER_S)
        self._refilled = now
        if self._lines < 1:
            self._left_out += 1
            return False
        self._lines -= 1
        return True

    def told(self) -> int:
        """Return how many were left out since this was last asked."""
        left_out, self._left_out = self._left_out, 0
        return left_out


def _model(request: object) -> str:
    """Return the model that a request of any of the services names, if it does."""
    for message in (request, getattr(request, "request", None)):
        for field in ("model", "model_name"):
            if isinstance(name := getattr(message, field, None), str) and name:
                return name[:128]
    return ""
