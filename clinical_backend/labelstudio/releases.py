"""Which releases of Label Studio this backend works with. The README, the tests and the images read it here."""

from __future__ import annotations

import re
from typing import Final

from clinical_backend.errors import LabelStudioVersionError

__all__ = ["NEWEST_TESTED", "OLDEST_TESTED", "TESTED", "is_newer_than_tested", "require_supported"]

TESTED: Final = ("1.12.1", "1.15.0", "1.18.0", "1.20.0", "1.23.2")
"""Releases on which ``make test-versions`` runs the whole loop, in order. On 1.10.1, *Start Training* tells nobody."""

OLDEST_TESTED: Final = TESTED[0]

NEWEST_TESTED: Final = TESTED[-1]


def require_supported(release: str, url: str) -> str:
    """Return the release of the Label Studio at an address, if it is tested or newer, or cannot be read.

    Raises
    ------
    LabelStudioVersionError
        When it is older than the oldest tested one.
    """
    numbers = _numbers(release)
    if numbers and numbers < _numbers(OLDEST_TESTED):
        raise LabelStudioVersionError(
            f"Label Studio {release} at {url} is too old for this backend.",
            f"Update it: this backend is tested with {OLDEST_TESTED} to {NEWEST_TESTED}.",
        )
    return release


def is_newer_than_tested(release: str) -> bool:
    """Tell whether a release came after the newest tested one."""
    return _numbers(release) > _numbers(NEWEST_TESTED)


def _numbers(release: str) -> tuple[int, ...]:
    """Return the three numbers of a release such as ``1.23.2`` or ``1.12.0.post0``; none where it has no such form."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", release)
    return tuple(int(number or 0) for number in found.groups()) if found else ()
