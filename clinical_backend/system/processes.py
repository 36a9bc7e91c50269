"""Which process did something, so that another one on the same machine can tell whether it is still there."""

from __future__ import annotations

import os
import secrets
import signal
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

__all__ = ["end_if_stopped", "has_ended", "is_of_this_machine", "this_process"]

_DEAD = frozenset("ZXx")
_STOPPED = frozenset("Tt")


def this_process() -> str:
    """Return what identifies this process: its machine, its id there, and when it was started.

    The machine is told by the kernel's boot and the namespace of process ids, since containers of one machine number
    their processes each for themselves. Times are ticks since the boot, which no change of a clock moves.
    """
    return _identity(os.getpid())


def has_ended(process: str) -> bool:
    """Tell whether a process is known to be gone; of another machine's nothing is known."""
    number = _number_here(process)
    return number is not None and (_identity(number) != process or _state(number)[0] in _DEAD)


def is_of_this_machine(process: str) -> bool:
    """Tell whether a process is, or was, of this machine; of a container's, of this container."""
    return _number_here(process) is not None


def end_if_stopped(process: str) -> bool:
    """End a process of this machine that is stopped (SIGSTOP), and tell whether it was; what it held is let go."""
    number = _number_here(process)
    if number is None or number == os.getpid() or _identity(number) != process or _state(number)[0] not in _STOPPED:
        return False
    with suppress(OSError):
        os.kill(number, signal.SIGKILL)
    return True


def _identity(number: int) -> str:
    return f"{_machine()}/{number}/{_state(number)[1]}"


def _number_here(process: str) -> int | None:
    """Return the id of a process of this machine; ``None`` for one of another."""
    machine, _, rest = process.rpartition("/")[0].rpartition("/")
    return int(rest) if machine == _machine() and rest.isdecimal() else None


def _state(number: int) -> tuple[str, str]:
    """Return the state of a process and when it was started, ``("X", "")`` where there is none."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]  # of the 22 fields up to the start, two come before
    except (OSError, IndexError):
        return "X", ""


@lru_cache(maxsize=1)
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return secrets.token_hex(8)  # of a system that does not tell, each process is a machine of its own
