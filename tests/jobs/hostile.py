"""What a hostile job names: importing it leaves a mark, and so does calling it."""

import os
from pathlib import Path

MARKS = Path(os.environ["HOSTILE_MARKS"])
(MARKS / "imported").touch()


def leave(*arguments, **_):
    """Leave a mark of the name given, or of the job that this is a callback of."""
    (MARKS / str(getattr(arguments[0], "id", arguments[0]))).touch()


def fail():
    raise ValueError
