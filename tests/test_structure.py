"""How the files of the package are named."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "clinical_backend"

OF_OTHERS = {"storage/stores", "web/pages", "lab/benchmarks", "lab/experiments"}
"""A store, a page or a measurement of a thing may bear the thing's name."""


def kind(file):
    """Return where a name holds one noun: in sibling folders, as the networks of adaptation and fine-tuning do."""
    return file.parent if file.parent.parent == PACKAGE else file.parent.with_name("*")


def test_files_of_one_name_hold_one_noun():
    named = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.stem != "__init__" and file.parent.relative_to(PACKAGE).as_posix() not in OF_OTHERS:
            named[file.stem].append(file)
    doubled = [files for files in named.values() if len({kind(file) for file in files}) > 1]
    assert doubled == []
