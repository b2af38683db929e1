"""Write one log line for each finished call, or for each failed one."""

import collections
import logging
import time
from typing import Any, Literal

from ganserve_server.monitoring.call_tracking import OK, Call

AccessLevel = Literal["all", "errors", "off"]

# Log lines must not slow down a server in overload: each status may write this many in a row, then this many a second.
_MOST_IN_A_ROW, _LINES_PER_S = 10.0, 1.0
_access_log = logging.getLogger("ganserve_server.access")


class AccessLog:
    """Writes lines for calls, at most a few a second for each failing status."""

    def __init__(self, level: AccessLevel = "errors") -> None:
        """Write to the logger `ganserve_server.access`, at the level info.

        "errors" is limited for each status; the next line of that status tells how many calls were left out.
        """
        self.level = level
        self._allowances: dict[str, _Allowance] = collections.defaultdict(_Allowance)

    def wants(self, code: str) -> bool:
        """Return True if a call with this status should be written."""
        if self.level == "off" or (code == OK and self.level != "all") or not _access_log.isEnabledFor(logging.INFO):
            return False
        return self.level == "all" or self._allowances[code].take()

    def write(self, call: Call, duration_s: float, peer: str) -> None:
        """Write the line."""
        milliseconds = round(duration_s * 1e3, 3)
        fields: dict[str, Any] = {"method": call.method, "code": call.code, "duration_ms": milliseconds, "peer": peer}
        if call.identity:
            fields["caller"] = call.identity
        if call.reason:
            fields["reason"] = call.reason
        if model := model_of(call.request):
            fields["model"] = model
        text = f"{call.method} {call.code} in {milliseconds:g} ms"
        if call.message:
            text += f": {call.message}"
        if call.identity or call.reason:
            text += f" ({' '.join(filter(None, (call.identity, call.reason)))})"
        if left_out := self._allowances[call.code].pop_left_out():
            fields["left_out"] = left_out
            text += f" ({left_out} more calls with this status were left out)"
        _access_log.info("%s", text, extra=fields)


class _Allowance:
    """The number of lines that may be written, refilled over time."""

    def __init__(self) -> None:
        self._lines = _MOST_IN_A_ROW
        self._refilled = time.monotonic()
        self._left_out = 0

    def take(self) -> bool:
        """Use up one line; return False if none is left."""
        now = time.monotonic()
        self._lines = min(_MOST_IN_A_ROW, self._lines + (now - self._refilled) * _LINES_PER_S)
        self._refilled = now
        if self._lines < 1:
            self._left_out += 1
            return False
        self._lines -= 1
        return True

    def pop_left_out(self) -> int:
        """Return how many lines were left out since the last call of this method."""
        left_out, self._left_out = self._left_out, 0
        return left_out


def model_of(request: object) -> str:
    """Return the model that a request of any service names; empty if none."""
    for message in (request, getattr(request, "request", None)):
        for field in ("model", "model_name"):
            if isinstance(name := getattr(message, field, None), str) and name:
                return name[:128]
    return ""
