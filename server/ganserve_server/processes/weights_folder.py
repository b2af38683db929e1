"""Make the folder for the weights that the processes of a server share, and remove it in the end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from ganserve_server.owned_folder import owned_folder

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def weights_folder() -> Iterator[Path | None]:
    """Yield a new folder that only this user may enter, until the block ends; None if none can be made."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(owned_folder("ganserve-weights-"))
        except OSError as error:
            _log.warning("weights are not shared among processes: no temporary folder can be made: %s", error.strerror)
            folder = None
        yield folder
