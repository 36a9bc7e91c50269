"""Names of predictions (``model_version``): what Label Studio shows of them, and who published them."""

from __future__ import annotations

import hashlib
import re
import secrets

__all__ = [
    "UNPUBLISHED_VERSION",
    "VERSION_PREFIX",
    "author_of",
    "installation_id",
    "on_demand_version",
    "queue_version",
]

VERSION_PREFIX = "clinical-"
"""Every ``model_version`` of ours begins so."""

UNPUBLISHED_VERSION = f"{VERSION_PREFIX}0"
"""The version before the first round is published."""

_QUEUE = "-place-in-queue"
"""Label Studio writes the score as a percentage behind the version, of which it shows the first 8 and last 6 characters
where it is long: here "clinical...-queue", lest a place be read as a confidence."""
_ON_DEMAND = "-on-demand"

_FORM = re.compile(rf"{VERSION_PREFIX}[1-9]\d*-[0-9a-z]+(?:-by-([0-9a-f]{{8}}))?(?:{_QUEUE}|{_ON_DEMAND})?")


def installation_id(identity: str) -> str:
    """Return the public id of an installation, given the secret identity of its database.

    The identity salts the hashes of patients' names, so that it must not be shown.
    """
    return hashlib.sha256(f"installation {identity}".encode()).hexdigest()[:8]


def queue_version(number: int, installation: str) -> str:
    """Return a new name for the queue of a round, which names the installation that publishes it.

    It holds random characters, so that no database that was lost or restored can meet predictions of the same name.
    """
    return f"{VERSION_PREFIX}{number}-{secrets.token_hex(3)}-by-{installation}{_QUEUE}"


def on_demand_version(version: str) -> str:
    """Return the ``model_version`` of what a round's model answers on demand.

    It is another one than the queue's: Label Studio orders readers' tasks by the predictions of the queue's version
    alone, and shows only those in the label stream.
    """
    return f"{version.removesuffix(_QUEUE)}{_ON_DEMAND}"


def author_of(version: str) -> str | None:
    """Return the id of the installation of this backend that published a version.

    Returns
    -------
    str or None
        ``None`` for a version of another model; empty for one of a release that did not name the installation.
    """
    found = _FORM.fullmatch(version)
    return None if found is None else found[1] or ""
