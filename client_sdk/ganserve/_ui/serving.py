"""Serve the page to browsers, without a request to any other host."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ganserve import Client, InvalidRequest
from ganserve._ui.layout import CSS, SCRIPT, Page

# Keeps the browser from reaching other hosts. Gradio's own scripts are inline and use eval.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; form-action 'self'; base-uri 'self'"
)
_FONTS = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
_MONO_FONTS = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
_MOST_UPLOADED = "20mb"


@contextmanager
def serving(client: Client, host: str, port: int | None) -> Iterator[str]:
    """Serve the page until the block ends, and yield its address; without a port, on the first free one from 7860."""
    theme = gr.themes.Default(primary_hue="indigo", neutral_hue="slate", font=_FONTS, font_mono=_MONO_FONTS)
    with tempfile.TemporaryDirectory(prefix="ganserve-ui-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder, "gradio"))
        page = Page(client, Path(folder))
        try:
            _, url, _ = page.blocks.launch(
                server_name=host,
                server_port=port,
                prevent_thread_lock=True,
                quiet=True,
                inline=False,
                share=False,
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
                app_kwargs={"middleware": [Middleware(_Policy)]},
            )
        except OSError as error:
            raise InvalidRequest.of(
                "--port", f"{'is not free' if port is None else f'{port} is not free'}: {error}"
            ) from error
        try:
            yield url
        finally:
            # Don't wait for open pages, nor log errors about them.
            page.blocks.server.config.timeout_graceful_shutdown = 1
            logging.getLogger("uvicorn.error").disabled = True
            page.blocks.close(verbose=False)


class _Policy:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self._app(scope, receive, send_with_policy)
