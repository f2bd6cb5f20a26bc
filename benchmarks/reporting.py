"""What every benchmark writes beside its numbers: where they were measured, and how a table shows them."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_cavga.handlers.files import write_atomic

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def machine() -> dict[str, Any]:
    """Where and with what a number was measured."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    packages = ("torch", "monai", "pytorch-ignite", "numpy", "scikit-image")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "commit": commit,
        "date": datetime.date.today().isoformat(),
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a result file, whole or not at all."""
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())


def shown(path: Path) -> str:
    """A path for a message: from the current folder where it lies in it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def notes(folder: Path, runs: str, commits: Iterable[str]) -> list[str]:
    """What is said of the data of these runs in ``notes.json`` beside their result files.

    Args:
        folder: of the result files.
        runs: beginning of their names: a table and its data.
        commits: that measured them. A sentence is for runs of the commits that it names: it is not said of anybody
            else's, who measured on other data and at another commit.
    """
    path, there = folder / "notes.json", {each[:10] for each in commits}
    entries = json.loads(path.read_text(encoding="utf-8")).get(runs, []) if path.is_file() else []
    sentences = []
    for entry in entries:
        named = there & set(entry["commits"])
        if named != there:
            rest = ", ".join(sorted(there - named))
            print(f"{shown(path)}: {runs}: not said of runs of {rest}: {entry['text']}", flush=True)
        if named:
            only = "" if named == there else f" (Runs of {', '.join(sorted(named))}.)"
            sentences.append(entry["text"] + only)
    return sentences


def cell(values: Mapping[str, Any], key: str) -> str:
    """A number, with its interval where there is one."""
    if values.get(key) is None:
        return "–"
    interval = values.get(f"{key}_interval")
    low_high = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return f"{values[key]:.3f}{low_high}"


def spread(values: Sequence[float | None], *, sign: str = "") -> str:
    """The mean of a metric over seeds, with its standard deviation where there are several."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return "–"
    middle = f"{np.mean(known):{sign}.3f}"
    return middle if len(known) == 1 else f"{middle} ± {np.std(known):.3f}"


def mean(values: Sequence[float | None]) -> float | None:
    """Over seeds; None if one is undefined, or there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def difference(values: Sequence[float | None], paper: float | None) -> str:
    """Ours, the mean over seeds, less the paper's number; a dash where one of the two is not there."""
    ours = mean(values)
    return "–" if ours is None or paper is None else f"{ours - paper:+.3f}"


def over_seeds(runs: Sequence[Mapping[str, Any]], key: str) -> str:
    """A metric of one run with its interval, or of several as `spread`."""
    return cell(runs[0], key) if len(runs) == 1 else spread([run.get(key) for run in runs])


def places(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Markdown lines: where each cell's model was trained, and how long it took."""
    lines = [
        "| cell | training | starts (time of a killed one is not counted) | CPU | threads | date | trained at |",
        "|" + "---|" * 7,
    ]
    for name, result in zip(names, results, strict=True):
        place = result["training"]
        lines.append(
            f"| {name} | {result['training_seconds'] / 60:.1f} min | {result['training_starts']} | {place['cpu']}, "
            f"{place['cores']} cores | {place['threads']} | {place['date']} | {place['commit'][:10]} |"
        )
    return lines
