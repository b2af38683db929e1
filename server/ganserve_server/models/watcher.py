"""Check a folder of models for changes every few seconds."""

import logging
import threading
from collections.abc import Callable

from ganserve_server.errors import UnavailableError

_log = logging.getLogger(__name__)


def watch_folder(refresh: Callable[[], None], poll_s: float, problem: Callable[[], str], stop: threading.Event) -> None:
    """Call `refresh` every `poll_s` seconds until `stop` is set, and log when the folder's problem changes.

    `problem` returns what cannot be read; "" if all can.
    """
    logged = problem()
    while not stop.wait(poll_s):
        try:
            refresh()
        except UnavailableError:
            pass  # `problem` says why
        except Exception:  # noqa: BLE001 - the next attempt may succeed
            _log.exception("the model repository could not be checked; trying again")
        if (current := problem()) == logged:
            continue
        logged = current
        if current:
            _log.warning("%s; loaded models keep serving, and the folder is checked again", current)
        else:
            _log.info("the model repository can be read again")
