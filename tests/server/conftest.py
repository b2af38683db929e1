from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stubs import Stubs, connected

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stubs(server: str) -> Iterator[Stubs]:
    with connected(server) as stubs:
        yield stubs
