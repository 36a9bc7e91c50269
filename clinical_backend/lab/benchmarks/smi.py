"""The SMI benchmark: every function beside submodlib and the floor, each case in a fresh process.

Run as ``clinical bench smi`` or ``python -m clinical_backend.lab.benchmarks.smi [--quick] [--folder docs]``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from clinical_backend.acquisition import ACQUISITIONS, FUNCTIONS
from clinical_backend.lab.benchmarks.smi_case import Case
from clinical_backend.lab.plotting import pyplot

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["cases", "main"]

_FUNCTIONS = tuple(name for name in FUNCTIONS if "conditioning" not in ACQUISITIONS[name].needs)
_MOST = {
    "ours": {"flvmi": 50_000},
    "submodlib": {"flqmi": 200_000, "gcmi": 200_000, "com": 200_000, "flvmi": 10_000, "logdetmi": 10_000},
}
"""Beyond these sizes memory or patience ends: submodlib's lists of a million rows, its n × n kernels."""
_TIMEOUT = 600  # patience: a case that takes longer is told as such
_COLOURS = {
    "flqmi": "#0072b2",
    "gcmi": "#56b4e9",
    "com": "#009e73",
    "flvmi": "#d55e00",
    "logdetmi": "#cc79a7",
}


def main(*, quick: bool = False, folder: Path | None = None) -> None:
    """Measure, and write ``smi-benchmark.json``, ``.md`` and ``.svg`` to a folder.

    Parameters
    ----------
    quick
        Only n ≤ 10,000: a minute instead of half an hour.
    folder
        By default ``docs`` where it exists, else the working folder.
    """
    if folder is None:
        folder = Path("docs") if Path("docs").is_dir() else Path()
    folder.mkdir(parents=True, exist_ok=True)
    console = Console()
    results = []
    for case in track(list(cases(quick=quick)), "SMI", console=console):
        result = _measure(case)
        results.append(result)
        console.print(_line(result), highlight=False, soft_wrap=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    (folder / "smi-benchmark.json").write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    (folder / "smi-benchmark.md").write_text(_table(results, machine))
    _plot(results, folder / "smi-benchmark.svg")
    console.print(f"Written to {folder}: smi-benchmark.json, .md, .svg")


def cases(*, quick: bool) -> Iterable[Case]:
    """Yield what is measured: ours and submodlib's of one size follow each other and see one machine."""
    sizes = [1_000, 10_000] if quick else [1_000, 10_000, 50_000, 200_000, 1_000_000]
    for function in _FUNCTIONS:
        for n in sizes:
            for q, d in ((10, 128), (50, 128), (10, 512), (50, 512)):
                for engine in ("ours", "submodlib"):
                    if n > _MOST[engine].get(function, n):
                        continue
                    slow = n >= 50_000 and function in {"flvmi", "logdetmi"}
                    if function == "flvmi" and n >= 50_000 and (q, d) != (50, 512):
                        continue
                    if engine == "submodlib" and n >= 10_000 and function in {"flvmi", "logdetmi"} and q == 10:
                        continue
                    repeats = 1 if slow and n > 200_000 else 3 if n >= 200_000 or slow else 5
                    yield Case(engine, function, n, q, d, repeats=1 if function == "flvmi" and slow else repeats)
    yield Case("gradient", "kernel", 10_000 if quick else 50_000, 50, 512)


def _measure(case: Case) -> dict[str, Any]:
    command = [sys.executable, "-m", "clinical_backend.lab.benchmarks.smi_case", json.dumps(asdict(case))]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT)  # noqa: S603
    except subprocess.TimeoutExpired:
        return asdict(case) | {"failure": f"over {_TIMEOUT} s"}
    if run.returncode != 0:
        reason = run.stderr.strip().splitlines()[-1:] or [f"exit {run.returncode}"]
        return asdict(case) | {"failure": reason[0][:200]}
    return dict(json.loads(run.stdout.splitlines()[-1]))


def _line(result: dict[str, Any]) -> str:
    name = f"{result['engine']:9} {result['function']:8} n={result['n']} q={result['q']} d={result['d']}"
    if "failure" in result:
        return f"{name} failed: {result['failure']}"
    numbers = (f"{key} {result[key]:.4g}" for key in _SHOWN if key in result)
    return f"{name} {', '.join(numbers)}"


_SHOWN = ("total", "kernel", "selection", "floor", "ratio", "read_ratio", "built", "difference", "peak_mb")
_HEAD = (
    "| function | n | q | d | floor | ours: kernel | ours: selection | ours / floor | MB "
    "| submodlib: kernel | submodlib: selection | MB | selection, times faster | in all, times faster |"
)


def _table(results: list[dict[str, Any]], machine: str) -> str:
    """Return the figures as a table of Markdown."""
    lines = [
        "# SMI benchmark",
        "",
        f"{machine}; B = 100; post-ReLU features of 20 clusters; medians of seconds; MB beyond the input.",
        "Each engine and line ran in a fresh process, compiled and imported before the clock started.",
        "*Floor*: one product of the pool with the query set. *Selection* of submodlib: constructor and",
        "lazy greedy, which is inexact for LOGDETMI.",
        "",
        _HEAD,
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    theirs = {_key(result): result for result in results if result["engine"] == "submodlib"}
    for ours in (result for result in results if result["engine"] == "ours"):
        other = theirs.get(_key(ours), {})
        cells = [ours["function"].upper(), f"{ours['n']:,}", str(ours["q"]), str(ours["d"])]
        if "failure" in ours:
            lines.append(f"| {' | '.join(cells)} | {ours['failure']} |" + " |" * 9)
            continue
        cells += [_cell(ours, key) for key in ("floor", "kernel", "selection", "ratio", "peak_mb")]
        if "total" in other:
            cells += [_cell(other, key) for key in ("kernel", "selection", "peak_mb")]
            cells += [f"{other[key] / max(ours[key], 1e-9):.1f}" for key in ("selection", "total")]
        else:
            cells += [other.get("failure", "–"), "–", "–", "–", "–"]
        lines.append(f"| {' | '.join(cells)} |")
    for result in results:
        if result["engine"] == "gradient" and "built" in result:
            lines += ["", _gradient_line(result)]
    return "\n".join(lines) + "\n"


def _gradient_line(result: dict[str, Any]) -> str:
    return (
        f"Gradient embedding, n = {result['n']:,}, q = {result['q']}, d = {result['d']}, 9 classes: kernel "
        f"from the factors {result['total']:.3g} s and {result['peak_mb']:.0f} MB, from the built embedding "
        f"{result['built']:.3g} s and {result['built_peak_mb']:.0f} MB: "
        f"{result['built'] / result['total']:.0f} times faster, "
        f"largest difference {result['difference']:.1e}."
    )


def _key(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(result[field] for field in ("function", "n", "q", "d"))


def _cell(result: dict[str, Any], key: str) -> str:
    value = result[key]
    return f"{value:.0f}" if key == "peak_mb" else f"{value:.3g}"


def _plot(results: list[dict[str, Any]], path: Path) -> None:
    """Draw seconds over n, on logarithmic axes, at q = 50."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), sharey=True)
    for axis, width in zip(axes, (128, 512), strict=True):
        chosen = [each for each in results if each["q"] == 50 and each["d"] == width and "total" in each]
        for function, colour in _COLOURS.items():
            for engine, style in (("ours", "-o"), ("submodlib", "--x")):
                points = [
                    (each["n"], each["total"])
                    for each in chosen
                    if each["function"] == function and each["engine"] == engine
                ]
                if points:
                    axis.loglog(
                        *zip(*sorted(points), strict=True),
                        style,
                        color=colour,
                        label=f"{function.upper()}, {engine}",
                    )
        floor = {each["n"]: each["floor"] for each in chosen if "floor" in each}
        axis.loglog(*zip(*sorted(floor.items()), strict=True), ":k", label="floor: one product with Q")
        axis.set(title=f"q = 50, d = {width}, B = 100", xlabel="images in the pool")
        axis.grid(visible=True, which="major", alpha=0.3)
    axes[0].set_ylabel("seconds, kernel and selection")
    axes[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time every SMI function beside submodlib.")
    parser.add_argument("--quick", action="store_true", help="only n up to 10,000")
    parser.add_argument("--folder", type=Path, help="where the results go")
    options = parser.parse_args()
    main(quick=options.quick, folder=options.folder)
