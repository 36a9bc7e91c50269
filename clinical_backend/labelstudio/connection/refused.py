"""Why Label Studio refuses this backend's address, and what to do."""

from __future__ import annotations

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.labelstudio.connection.checks import ADDRESS_CURE

__all__ = ["explain_refusal"]


def explain_refusal(error: LabelStudioRefusedError, backend_url: str) -> LabelStudioRefusedError:
    """Say what to do when Label Studio refuses the backend's address, or does not reach it."""
    problem = error.problem.lower()
    if "enter a valid url" in problem:
        return LabelStudioRefusedError(
            f"Label Studio sends no webhooks to {backend_url}: it takes a host's name with a dot, localhost, or an"
            " address.",
            "Give BACKEND_URL such a name; in a compose network, give the backend's service an alias as"
            " backend.internal.",
            status=error.status,
        )
    if "authentication parameters" in problem:
        return LabelStudioRefusedError(
            f"The backend at {backend_url} refuses Label Studio's login. {error.problem}",
            "Give this command the same BASIC_AUTH_USER and BASIC_AUTH_PASS as the backend.",
            status=error.status,
        )
    if "health check failed" in problem:
        return LabelStudioRefusedError(
            f"Label Studio does not reach the backend at {backend_url}. {error.problem}",
            "Start the backend first, and give BACKEND_URL the address by which Label Studio's machine"
            " reaches it; inside a container, localhost is the container itself.",
            status=error.status,
        )
    if error.status == 403 or any(word in problem for word in ("ssrf", "blocked", "not allowed", "local")):
        return LabelStudioRefusedError(
            f"Label Studio refuses the address {backend_url}. {error.problem}",
            f"{ADDRESS_CURE} If it is allowed already, use the token of a user who may edit the project.",
            status=error.status,
        )
    return error
