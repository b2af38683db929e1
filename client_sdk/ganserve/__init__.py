"""The typed Python SDK of ganserve: sample and score GANs over gRPC.

    from ganserve import Client

    with Client("localhost:50051", model="digits") as client:
        batch = client.sample(16, label="7", seed=42)
        batch.save_grid("sevens.png")

Names load when they are first used, so that importing this package (and `ganserve --help`) loads neither gRPC nor
NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganserve._async_client import AsyncClient
    from ganserve._calls.async_streams import AsyncSampleStream, AsyncScoreStream
    from ganserve._calls.streams import SampleStream, ScoreStream
    from ganserve._client import Client
    from ganserve._errors import (
        AccessDenied,
        ClientClosed,
        DeadlineExceeded,
        FieldViolation,
        GanserveError,
        InvalidRequest,
        MessageTooLarge,
        MissingExtra,
        ModelNotFound,
        RequestCancelled,
        ServerError,
        ServerOverloaded,
        ServerUnavailable,
        UnsupportedByModel,
        UnsupportedByServer,
    )
    from ganserve._marks.mark import Mark
    from ganserve._marks.signing import Manifest
    from ganserve._results.batch import SampleBatch
    from ganserve._results.marking import Marking, PictureSigner
    from ganserve._results.models import (
        Calibration,
        EngineInfo,
        GraphInfo,
        LatentControl,
        ModelInfo,
        ModelState,
        ModelSummary,
        PackageFile,
        Provenance,
        SampleShape,
        Style,
        Typicality,
        Verification,
        VersionSummary,
    )
    from ganserve._results.sample import Sample
    from ganserve._results.scores import Score, Scores
    from ganserve._results.selection import BestOf, Rejection, Selection, SelectionReport
    from ganserve._results.verdict import Likeness, PictureVerdict
    from ganserve._tls import TLS
    from ganserve._types import Encoding, ImagesLike, Label, Labels, Noise, Priority

    __version__: str

__all__ = [
    "TLS",
    "AccessDenied",
    "AsyncClient",
    "AsyncSampleStream",
    "AsyncScoreStream",
    "BestOf",
    "Calibration",
    "Client",
    "ClientClosed",
    "DeadlineExceeded",
    "Encoding",
    "EngineInfo",
    "FieldViolation",
    "GanserveError",
    "GraphInfo",
    "ImagesLike",
    "InvalidRequest",
    "Label",
    "Labels",
    "LatentControl",
    "Likeness",
    "Manifest",
    "Mark",
    "Marking",
    "MessageTooLarge",
    "MissingExtra",
    "ModelInfo",
    "ModelNotFound",
    "ModelState",
    "ModelSummary",
    "Noise",
    "PackageFile",
    "PictureSigner",
    "PictureVerdict",
    "Priority",
    "Provenance",
    "Rejection",
    "RequestCancelled",
    "Sample",
    "SampleBatch",
    "SampleShape",
    "SampleStream",
    "Score",
    "ScoreStream",
    "Scores",
    "Selection",
    "SelectionReport",
    "ServerError",
    "ServerOverloaded",
    "ServerUnavailable",
    "Style",
    "Typicality",
    "UnsupportedByModel",
    "UnsupportedByServer",
    "Verification",
    "VersionSummary",
    "__version__",
]

# Where the names above are, in the order of search: modules that load little come first.
_MODULES = (
    "_errors",
    "_types",
    "_tls",
    "_results.models",
    "_results.selection",
    "_results.scores",
    "_marks.mark",
    "_marks.signing",
    "_results.verdict",
    "_results.marking",
    "_results.batch",
    "_calls.streams",
    "_calls.async_streams",
    "_client",
    "_async_client",
)


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("ganserve")
    elif name in __all__:
        from importlib import import_module

        modules = (import_module(f"ganserve.{module}") for module in _MODULES)
        value = next(getattr(module, name) for module in modules if hasattr(module, name))
    else:
        raise AttributeError(f"module 'ganserve' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
