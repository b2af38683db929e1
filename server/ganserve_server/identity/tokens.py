"""Make tokens, and know them again by their digests.

A token has 256 random bits, so that its SHA-256 tells nothing about it: slow hashes with a salt are for words that
people choose.
"""

import hashlib
import secrets

PREFIX = "gsv_"
"""Begins each token, so that scanners find tokens that leaked into code."""
MOST_BYTES = 8192
"""Longest token or JWT that the server reads."""


def new_token() -> str:
    """Return a new token."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
