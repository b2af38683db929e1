"""Serve pictures of samples over HTTP: `GET /samples/LABEL?n=16&seed=7` returns one PNG picture.

    pip install 'ganserve[examples]'
    uvicorn --app-dir examples fastapi_app:app

It uses the ganserve server at GANSERVE_TARGET, or at localhost:50051, and the model GANSERVE_MODEL, or mnist:
`ganserve serve --demo` is such a server.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from ganserve import (
    AsyncClient,
    DeadlineExceeded,
    GanserveError,
    InvalidRequest,
    ModelNotFound,
    ServerOverloaded,
    ServerUnavailable,
    UnsupportedByModel,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODEL = os.environ.get("GANSERVE_MODEL", "mnist")  # by name: the server may get other models later
MOST_SAMPLES = 100
# HTTP status of each error; all other errors are 502.
STATUS = {
    InvalidRequest: 422,
    UnsupportedByModel: 422,
    ModelNotFound: 404,
    ServerOverloaded: 503,
    ServerUnavailable: 503,
    DeadlineExceeded: 504,
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one client for the whole application: all requests share its connection."""
    async with AsyncClient(model=MODEL, timeout_s=10) as client:
        app.state.client = client
        yield


app = FastAPI(title="Samples", lifespan=lifespan)


@app.exception_handler(GanserveError)
async def explain(_: Request, error: GanserveError) -> JSONResponse:
    """Return the SDK's message, which is written for humans."""
    headers = {}
    if isinstance(error, ServerOverloaded) and error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return JSONResponse({"detail": error.message}, STATUS.get(type(error), 502), headers)


@app.get("/samples/{label}", response_class=Response, responses={200: {"content": {"image/png": {}}}})
async def samples(
    request: Request,
    label: str,
    n: Annotated[int, Query(ge=1, le=MOST_SAMPLES)] = 16,
    seed: Annotated[int | None, Query(ge=0, lt=2**64)] = None,
) -> Response:
    """Return a picture of n samples of a label, with headers that allow the same samples to be drawn again."""
    batch = await request.app.state.client.sample(n, label, seed=seed)
    headers = {"X-Seed": str(batch.seed), "X-Model": f"{batch.model}/{batch.version}"}
    # In a thread, so that the event loop can answer other requests meanwhile.
    return Response(await asyncio.to_thread(batch.grid_png), media_type="image/png", headers=headers)
