"""Ask browsers for the page's password."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

_BODY = b"this page needs its password\n"


class PasswordWall:
    """Answers 401 to requests without the password. Browsers send it with any user name, programs as a bearer token."""

    def __init__(self, app: Any, password: str) -> None:
        self._app = app
        self._digest = _digest(password.encode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on what has the password."""
        if scope["type"] == "lifespan" or self._knows(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(_BODY)).encode()),
                (b"www-authenticate", b'Basic realm="ganserve", charset="UTF-8"'),
            ]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _BODY})

    def _knows(self, scope: Any) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, value = given[0].partition(b" ")
        secret = value
        if scheme.lower() == b"basic":
            try:
                secret = base64.b64decode(value, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(_digest(secret), self._digest)


def _digest(secret: bytes) -> bytes:
    """Return a digest, so that the comparison takes as long for passwords of any length."""
    return hashlib.sha256(secret).digest()
