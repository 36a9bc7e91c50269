"""Names that stand for identifiers: the same for the same one, and without the key no way back."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from typing import TYPE_CHECKING, TypeGuard

from clinical_backend.system.permissions import make_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Pseudonyms", "is_pseudonym"]

_KEY = "pseudonym-key"
_KEY_BYTES = 32
_DIGITS = 20
"""80 bits: of a million identifiers two are alike once in 10^12 archives."""


class Pseudonyms:
    """Keyed hashes (HMAC-SHA-256) of identifiers.

    Parameters
    ----------
    folder
        MODEL_DIR: its file ``pseudonym-key`` holds the key. It is made on first use, readable for its owner alone.
        Whoever has it can test whether a known identifier is in a project; without it, an import that is run again
        knows nothing of what is there.
    """

    def __init__(self, folder: Path) -> None:
        self._key = _key(folder / _KEY)

    def of(self, kind: str, identifier: str) -> str:
        """Return what stands for an identifier, as hexadecimal digits.

        Parameters
        ----------
        kind
            What it identifies, such as ``patient``: the same number of a patient and of a study have other hashes.
        identifier
            As the archive has it.
        """
        return hmac.new(self._key, f"{kind}\0{identifier}".encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[
            :_DIGITS
        ]


def is_pseudonym(value: object) -> TypeGuard[str]:
    """Tell whether a value has the form of what stands for an identifier."""
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{_DIGITS}}}", value) is not None


def _key(file: Path) -> bytes:
    make_folder(file.parent)
    new = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    new.touch(0o600)
    try:
        with new.open("wb") as made:
            made.write(secrets.token_bytes(_KEY_BYTES))
            made.flush()
            os.fsync(made.fileno())
        os.link(new, file)  # of several processes the first one's key stays
    except FileExistsError:
        pass
    finally:
        new.unlink()
    return file.read_bytes()
