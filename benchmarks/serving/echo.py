"""Answer every call with the same bytes, by bare grpc.aio: echo.py RESPONSE_FILE. Prints its HOST:PORT.

It shows what Python's gRPC can do on this machine with the same messages.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop


class Handlers(grpc.GenericRpcHandler):
    """Answer any unary method."""

    def __init__(self, response: bytes) -> None:
        async def answer(_request: bytes, _context: Any) -> bytes:
            return response

        self._handler = grpc.unary_unary_rpc_method_handler(answer)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ARG002 - the same for all
        return self._handler


async def main(response: bytes) -> None:
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((Handlers(response),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"serving on 127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]).read_bytes()))
