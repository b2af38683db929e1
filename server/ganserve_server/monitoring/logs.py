"""Format log lines as text or JSON, each with the id of its call; JSON has its trace, too."""

import datetime
import json
import logging
import sys
from collections.abc import Callable
from typing import Any, Literal

from ganserve_server.error_text import printable
from ganserve_server.monitoring.call_tracking import current_call

LogFormat = Literal["text", "json"]

# Attributes of every record. Others come from `extra` and become fields.
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "request_id",
    "trace_ids",
    "process_number",
}


def set_up_logging(level: str, log_format: LogFormat) -> None:
    """Send the log of the whole process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_tells_something)
    handler.addFilter(_add_request_id)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def announcer(log_format: LogFormat, log: logging.Logger) -> Callable[[str], None]:
    """Return the function that tells the user something: to stdout, or line by line to a JSON log."""

    def log_lines(text: str) -> None:
        for line in text.splitlines():
            log.info("%s", line)

    def show(text: str) -> None:
        sys.stdout.write("\n".join(map(printable, text.split("\n"))))
        sys.stdout.flush()

    return log_lines if log_format == "json" else show


def name_process(number: int) -> None:
    """Add the number of this process to its lines, where several serve together."""

    def add(record: logging.LogRecord) -> bool:
        record.process_number = number
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(add)


def _tells_something(record: logging.LogRecord) -> bool:
    """Return False for what gRPC logs as an error if a client leaves at the moment when its answer is sent."""
    return not (
        record.name == "grpc._cython.cygrpc" and record.getMessage().startswith("ExecuteBatchError raised in core")
    )


def _add_request_id(record: logging.LogRecord) -> bool:
    call = current_call.get()
    record.request_id = "" if call is None else call.request_id
    record.trace_ids = ("", "") if call is None else call.trace_ids
    return True


class TextFormatter(logging.Formatter):
    """Formats a line for humans, with the call's id after the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line, without a traceback."""
        # Messages quote clients and files, which must neither begin a new log line nor control a terminal.
        line = printable(super().formatMessage(record))
        if number := getattr(record, "process_number", 0):
            line = f"{line} [process {number}]"
        request_id = getattr(record, "request_id", "")
        return f"{line} [request id {request_id}]" if request_id else line

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback, in several lines."""
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


class JsonFormatter(logging.Formatter):
    """Formats one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        fields: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if number := getattr(record, "process_number", 0):
            fields["process"] = number
        if request_id := getattr(record, "request_id", ""):
            fields["request_id"] = request_id
        trace_id, span_id = getattr(record, "trace_ids", ("", ""))
        if trace_id:
            fields |= {"trace_id": trace_id, "span_id": span_id}
        fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)
