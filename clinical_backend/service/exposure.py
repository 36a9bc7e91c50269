"""Who can reach the server, by where it listens: said before it starts, in its log, and by the doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.labelstudio.connection.checks import CheckResult, Status
from clinical_backend.settings import EVERY_ADDRESS, SettingsError
from clinical_backend.system.connectivity import is_loopback

if TYPE_CHECKING:
    from clinical_backend.settings import Settings

__all__ = ["examine_exposure", "require_consent"]


def require_consent(settings: Settings) -> None:
    """Refuse to serve a network without a password, unless that is asked for.

    Raises
    ------
    SettingsError
        When whoever reaches the port could see images and order rounds, and OPEN_ACCESS does not say that this is
        meant.
    """
    if _is_open(settings) and not settings.open_access:
        raise SettingsError(
            f"HOST={settings.host} lets other machines call this backend, which asks for no password: they could see"
            " images and order rounds.",
            "Set BASIC_AUTH_USER and BASIC_AUTH_PASS, or HOST=127.0.0.1; OPEN_ACCESS=true serves everybody who"
            " reaches the port.",
        )


def examine_exposure(settings: Settings) -> list[CheckResult]:
    """Return what an operator should know of where the server listens."""
    found = []
    if _is_open(settings):
        found.append(
            CheckResult(
                "access",
                Status.WARNING,
                f"Whoever reaches port {settings.port} sees images and orders rounds: no password is asked for.",
                "Set BASIC_AUTH_USER and BASIC_AUTH_PASS and run `clinical connect`, unless a firewall or a proxy"
                " keeps others out.",
            )
        )
    if settings.host in EVERY_ADDRESS and settings.backend_url is None:
        found.append(
            CheckResult(
                "address",
                Status.WARNING,
                f"The server listens on all addresses, and Label Studio is told {settings.public_url}, which only"
                " a Label Studio on this machine reaches.",
                "Set BACKEND_URL to the address by which Label Studio reaches this backend; further names that"
                " browsers use go into ALLOWED_HOSTS.",
            )
        )
    return found


def _is_open(settings: Settings) -> bool:
    return settings.basic_auth is None and not is_loopback(settings.host.lower().strip("[]"))
