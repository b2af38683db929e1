"""A reverse proxy that publishes a server below a path, as an operator's would."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def published_below(path: str, url: str) -> Iterator[str]:
    """Publish the server at `url` below `path`, which requests to it lose; yield the new address.

    Answers pass as they come, so that streams of events work.
    """
    server = urlsplit(url)
    assert server.hostname is not None

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{path}/"):
                self.send_error(404)
                return
            connection = http.client.HTTPConnection(server.hostname or "", server.port, timeout=120)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            # With the browser's Host header, from which the page makes its addresses.
            connection.request(self.command, self.path.removeprefix(path), body, dict(self.headers))
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() != "transfer-encoding":
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while piece := answer.read1():
                    self.wfile.write(piece)
                    self.wfile.flush()
            connection.close()

        do_POST = do_GET  # noqa: N815 - http.server finds it by this name

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}{path}/"
        finally:
            proxy.shutdown()
            thread.join()
