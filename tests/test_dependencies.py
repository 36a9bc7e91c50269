"""What the package declares is what it imports, and what it imports is declared."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "clinical_backend"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

THROUGH_OTHERS = {
    "onnxscript": "torch.onnx exports with it",
    "pylibjpeg": "pydicom decodes JPEG 2000 with it",
    "python-gdcm": "pydicom decodes lossless JPEG with it",
    "python-multipart": "FastAPI reads forms with it",
    "torchvision": "timm imports it; its version goes with that of torch",
}
"""Declared though nothing here imports it, and who does."""

OWN_ENVIRONMENT = {"flask", "label_studio_ml"}
"""Comes with the SDK, in whose environment the plugin runs."""

LAB = ("lab",)
"""The room that the server never enters: it may need what only developers have."""


def names(requirements):
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def lines(file):
    return [line for line in file.read_text().splitlines() if line and not line.startswith("#")]


BASE = names(lines(ROOT / "requirements.txt"))
EXTRAS = {extra: names(given) for extra, given in PROJECT["optional-dependencies"].items()}


def imported(file):
    """Return the top-level modules of others that a file imports, but for those of type checking alone."""
    tree = ast.parse(file.read_text())
    skipped = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for statement in branch.body
        for node in ast.walk(statement)
    }
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names - {"clinical_backend"} - OWN_ENVIRONMENT


def distributions(modules):
    known = packages_distributions()
    return {canonicalize_name(known[module][0]): module for module in modules}


def files(*, lab):
    return [file for file in PACKAGE.rglob("*.py") if (file.relative_to(PACKAGE).parts[0] in LAB) == lab]


def test_each_import_is_declared():
    product = {module for file in files(lab=False) for module in imported(file)}
    assert distributions(product).keys() - BASE == {"ray", "open-clip-torch", "transformers"}
    assert EXTRAS["ray"] | EXTRAS["plots"] | EXTRAS["words"] <= EXTRAS["dev"]
    lab = {module for file in files(lab=True) for module in imported(file)}
    assert distributions(lab).keys() <= BASE | EXTRAS["dev"]


def test_each_declared_one_is_imported_or_has_its_reason():
    modules = {module for file in PACKAGE.rglob("*.py") for module in imported(file)}
    assert BASE - distributions(modules).keys() == THROUGH_OTHERS.keys()


def test_each_has_a_lower_bound():
    given = [
        *lines(ROOT / "requirements.txt"),
        *(line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]),
    ]
    unbounded = [line for line in given if not Requirement(line).specifier]
    assert unbounded == []


def test_no_version_of_the_tested_set_chooses_a_build_of_torch():
    locked = names(line for line in lines(ROOT / "requirements" / "constraints.txt"))
    assert locked >= BASE
    assert [name for name in locked if name.startswith(("cuda-", "nvidia-")) or name == "triton"] == []


def test_the_backend_runs_on_what_it_declares_alone():
    others = EXTRAS["dev"] - BASE
    known = packages_distributions().items()
    missing = [name for name, made_by in known if names(made_by) & others]
    rooms = (
        "cli",
        "plugin",
        "web.app",
        "jobs.redis_worker",
        "jobs.local_worker",
        "training.finetuning",
        "service.connection",
    )
    imports = "".join(f"import clinical_backend.{room}\n" for room in rooms)
    script = f"import sys\nsys.modules.update(dict.fromkeys({missing!r}))\n{imports}"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=240)
