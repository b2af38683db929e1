# Generated from _async_connection.py by scripts/generate_sync_client.py: edit that file, then `make generate`.
"""Connect to a server, ask which models it has, and close: the client without drawing and scoring."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NoReturn, Self

from ganserve._calls import unary_calls
from ganserve._calls.channel import connect
from ganserve._calls.local import local_connection
from ganserve._calls.readiness import Readiness, refuse_name
from ganserve._calls.transport import Transport
from ganserve._calls.waiting import sleep
from ganserve._config import DEFAULT_TIMEOUT_S, ClientConfig, check_timeout
from ganserve._errors import GanserveError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from ganserve._calls.channel import Interceptor
    from ganserve._config import Compression, Metadata, Provider
    from ganserve._results.models import ModelInfo, ModelSummary
    from ganserve._tls import TLS
    from ganserve._token import Token


class Connection:
    """The base of `Client`, which documents the arguments."""

    def __init__(
        self,
        target: str | Sequence[str] | None = None,
        *,
        model: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_attempts: int | None = None,
        connections: int = 1,
        compression: Compression = "none",
        metadata: Metadata = (),
        tls: bool | TLS | None = None,
        token: Token | None = None,
        token_over_plain_text: bool = False,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        config = ClientConfig.of(
            target,
            timeout_s,
            model=model,
            max_attempts=max_attempts,
            connections=connections,
            compression=compression,
            metadata=metadata,
            tls=tls,
            token=token,
            token_over_plain_text=token_over_plain_text,
        )
        self._transport = Transport(config, partial(connect, config, interceptors), interceptors)

    @classmethod
    def local(
        cls,
        models: str | os.PathLike[str] | None = None,
        *,
        model: str | None = None,
        provider: Provider = "auto",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Self:
        """Run the server inside this process, and return its client; opens no port (needs the extra `server`).

        The models are loaded when this returns. `close()` stops the server.

        Args:
            models: The folder of model packages, NAME/VERSION/; later packages are found, too. Default: the model that
                comes with ganserve, handwritten digits.
            model: The model of calls that name none. Default: the environment variable GANSERVE_MODEL, else the only
                model.
            provider: Execution provider of the models.
            timeout_s: Default deadline of each call in seconds; math.inf waits for ever.

        Raises:
            InvalidRequest: There is no such folder, it has no models, or the provider does not work here.
            MissingExtra: The extra `server` is not installed.
        """
        client = cls.__new__(cls)
        client._transport = Transport(*local_connection(models, model, provider, timeout_s))  # noqa: SLF001
        return client

    @property
    def target(self) -> str:
        """The server's address, or several joined by commas; "local:FOLDER" for a server in this process."""
        return self._transport.config.target

    def models(self, *, timeout_s: float | None = None) -> list[ModelSummary]:
        """List the server's models, by name, with the state of each version.

        Args:
            timeout_s: Deadline in seconds; math.inf is none. Default: the client's.
        """
        return self._transport.unary(unary_calls.list_models(self._timeout_s(timeout_s)))

    def model(
        self, name: str | None = None, version: int | None = None, *, timeout_s: float | None = None
    ) -> ModelInfo:
        """Describe one version of a model.

        Args:
            name: The model's name. Default: the client's, else the server's only model.
            version: The model's version. Default: the latest that is ready.
            timeout_s: Deadline in seconds; math.inf is none. Default: the client's.

        Raises:
            ModelNotFound: There is no such model or version.
        """
        return self._transport.unary(unary_calls.get_model(self._model_name(name), version, self._timeout_s(timeout_s)))

    def wait_until_ready(self, timeout_s: float | None = None, *, model: str | None = None) -> None:
        """Wait until the client's model is ready; without one, any model, and no first version may still be loading.

        Args:
            timeout_s: Most seconds to wait; math.inf waits for ever. Default: the client's.
            model: Wait for this model instead of the client's. The server looks for new packages every 2 s (`poll_s`).

        Raises:
            ModelNotFound: The server answered for 5 s, or `timeout_s`, without that model; the message lists its own.
            ServerUnavailable: It is not ready in time; the message says what was missing.
        """
        refuse_name(timeout_s)
        readiness = Readiness(self._model_name(model), self._timeout_s(timeout_s))
        pause_s = 1.0
        while pause_s:
            attempt = readiness.attempt()
            try:
                pause_s = readiness.answered(self._transport.unary(attempt))
            except GanserveError as error:
                pause_s = readiness.refused(error)
            sleep(pause_s)

    def close(self) -> None:
        """Close the connection; calls of other threads end with `RequestCancelled`. Do nothing if it is closed."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or copied: its connections belong to this process. "
            "Make one in each process, for example in the initializer of a pool."
        )

    def __repr__(self) -> str:
        model = f", model={self._transport.config.model!r}" if self._transport.config.model is not None else ""
        return f"{type(self).__name__}({self.target!r}{model})"

    def _model_name(self, model: str | None) -> str | None:
        """Return the model of a call: its own, else the client's, else None."""
        return self._transport.config.model if model is None else model

    def _timeout_s(self, timeout_s: float | None) -> float:
        return check_timeout(timeout_s, self._transport.config.timeout_s)
