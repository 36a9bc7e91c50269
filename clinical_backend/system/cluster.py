"""The connection to a Ray cluster."""

from __future__ import annotations

import logging
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import ClinicalError, ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["answers", "connected", "on_node", "translated", "working_nodes"]

_CONNECT_SECONDS = 5.0  # a head node of the same network answers within milliseconds; not measured


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Connect to a Ray cluster; yield the module ``ray``.

    A connection that this process has already is used, and left as it is.

    Parameters
    ----------
    address
        ``host:port`` of the cluster's head, or None for Ray's own choice: RAY_ADDRESS, else a cluster on this machine.

    Raises
    ------
    ClusterError
        Where Ray is not installed, or no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise ClusterError(
            "Ray is not installed.", "Run `pip install 'clinical-backend[ray]'`, or unset RAY_ADDRESS."
        ) from None
    if ray.is_initialized():
        yield ray
        return
    _refuse_silent(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise _unreachable(address) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def translated() -> Iterator[None]:
    """Raise what went wrong on a node as an error of ours: itself if it is one, else a ClusterError."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ClinicalError):
            raise error.cause from None
        raise ClusterError(
            f"A worker on the Ray cluster failed with {type(error.cause).__name__}.",
            "Ray's log of that worker holds the details; see that every node has this version of clinical-backend.",
        ) from error
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"A worker on the Ray cluster was lost again and again ({type(error).__name__}).",
            "See with `ray status` that the nodes are alive and have memory left, and try again.",
        ) from error


def working_nodes(ray: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - Ray has no types
    """Return the nodes that are alive and have CPUs, as Ray describes them.

    Raises
    ------
    ClusterError
        Where there is none.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not nodes:
        raise ClusterError("The Ray cluster has no node with a CPU.", "Start one with `ray start --address=HOST:PORT`.")
    return nodes


def on_node(node: dict[str, Any]) -> Any:  # noqa: ANN401 - Ray has no types
    """Return how Ray places an actor on a node, or elsewhere if the node is gone."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)


def answers(ray: Any, references: Sequence[Any]) -> list[Any]:  # noqa: ANN401 - Ray has no types
    """Return what several calls on the cluster answered."""
    with translated():
        return list(ray.get(list(references)))


def _refuse_silent(address: str | None) -> None:
    """Ask whether anything listens, since Ray itself gives up only after a minute."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError:
        raise _unreachable(address) from None


def _unreachable(address: str | None) -> ClusterError:
    return ClusterError(
        f"No Ray cluster can be joined at {address or 'its default address'}.",
        "Run `ray start --address=HOST:PORT` on this machine too, with the head's address, and set RAY_ADDRESS to it.",
    )
