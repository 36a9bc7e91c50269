"""Short texts that come back from a browser as they were given, or not at all."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time

__all__ = ["Signer"]

_AHEAD = 60.0
"""Seconds by which the clock of another server process may be ahead."""


class Signer:
    """Signs texts, each for one purpose and a limited time.

    Every server process with the same secret accepts what another one signed.

    Parameters
    ----------
    secret
        Known to servers alone.
    """

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(b"clinical pages " + secret.encode()).digest()

    def sign(self, purpose: str, text: str, *, now: float | None = None) -> str:
        """Return a text of URL-safe characters that :meth:`read` gives back for the same purpose."""
        body = f"{int(time.time() if now is None else now)}.{base64.urlsafe_b64encode(text.encode()).decode()}"
        return f"{body}.{self._code(purpose, body)}"

    def read(self, purpose: str, signed: str, *, seconds: float, now: float | None = None) -> str | None:
        """Return the text, ``None`` where it was changed, is for another purpose or older than ``seconds``.

        A text from the future is none of ours either: it would be good for longer than it may be.
        """
        body, _, code = signed.rpartition(".")
        if not hmac.compare_digest(code.encode(), self._code(purpose, body).encode()):
            return None
        moment, _, encoded = body.partition(".")
        try:
            age = (time.time() if now is None else now) - int(moment)
            return base64.urlsafe_b64decode(encoded).decode() if -_AHEAD <= age <= seconds else None
        except (ValueError, binascii.Error):
            return None

    def _code(self, purpose: str, body: str) -> str:
        return hmac.new(self._key, f"{purpose}\n{body}".encode(), hashlib.sha256).hexdigest()
