"""Serve the page to browsers, without a request to any other host."""

import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware

from ganserve import Client, Marking
from ganserve._commands.page_protection import PageProtection
from ganserve._ui.layout import CSS, SCRIPT, Page
from ganserve._ui.password import PasswordWall

# Keeps the browser from reaching other hosts. Gradio's own scripts are inline and use eval.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; form-action 'self'; base-uri 'self'"
)
_FONTS = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
_MONO_FONTS = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
_MOST_UPLOADED = "20mb"


@contextmanager
def serving(
    client: Client,
    listener: socket.socket,
    root_path: str,
    protection: PageProtection | None = None,
    mark: Marking = True,
) -> Iterator[None]:
    """Serve the page on a bound socket until the block ends; browsers see it below `root_path`."""
    protection = protection or PageProtection()
    with tempfile.TemporaryDirectory(prefix="ganserve-ui-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder, "gradio"))
        app = _app(Page(client, Path(folder), mark), root_path, protection.password)
        # Don't wait for open pages, nor log errors about them. Gradio's own launch would call the page through the
        # system's proxy first.
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, **protection.options)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="ganserve-ui")
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield
        finally:
            server.should_exit = True
            thread.join()


def _app(page: Page, root_path: str, password: str | None) -> FastAPI:
    theme = gr.themes.Default(primary_hue="indigo", neutral_hue="slate", font=_FONTS, font_mono=_MONO_FONTS)
    middleware = [Middleware(_Policy)]
    if password is not None:
        middleware.append(Middleware(PasswordWall, password=password))
    outer = FastAPI(openapi_url=None, middleware=middleware)
    gr.mount_gradio_app(
        outer,
        page.blocks,
        path="/",
        root_path=root_path,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        max_file_size=_MOST_UPLOADED,
        theme=theme,
        css=CSS,
        head=f"<script>{SCRIPT}</script>",
    )
    return outer


class _Policy:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self._app(scope, receive, send_with_policy)
