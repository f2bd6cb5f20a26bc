"""What CAVGA costs, figure by figure: ``python benchmarks/speed.py --only a c`` measures two of them.

Everything runs in one process; what is compared is called in turn, and a ratio is the median over the rounds of the
ratio within a round, so it means something on a machine that others use too. Results are kept by figure in
``benchmarks/results/speed.json`` with date, machine and command; ``speed.md`` is the table of all that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from reporting import RESULTS, machine
from speed_clinical import localising
from speed_inference import against_grad_cam, against_memory_bank, localiser_cost, runtimes
from speed_loading import loading
from speed_metrics import against_torchmetrics, streaming_memory
from speed_timing import Options, Row
from speed_training import attention_losses, double_backward, roofline

from monai_cavga.handlers.files import write_atomic

LONG = 100_000  # images


class Figure(NamedTuple):
    """A measured question."""

    title: str
    ratio: str  # what the ratio is of
    measure: Callable[[Options], list[Row]]


FIGURES = {
    "a": Figure("A training step with the attention losses", "with / without", attention_losses),
    "b": Figure("Attention as a loss: autograd twice over, or closed form", "autograd / closed form", double_backward),
    "c": Figure("The localiser beside its encoder", "encoder / localiser", localiser_cost),
    "d": Figure("Raw maps: MONAI's GradCAM, or closed form", "GradCAM / closed form", against_grad_cam),
    "e": Figure("Runtimes, on the whole exported graph", "eager / this", runtimes),
    "f": Figure("Loading beside training", "loaded / trained", loading),
    "g": Figure("Streaming metrics: memory", "", streaming_memory),
    "g2": Figure("Streaming metrics: error, and beside torchmetrics", "see the row", against_torchmetrics),
    "h": Figure("A training step beside the machine's peak", "reached / peak", roofline),
    "i": Figure("The localiser beside a memory bank", "memory bank / localiser", against_memory_bank),
    "j": Figure("`localize` beside the encoder", "localize / encoder", localising),
}


def run(names: Sequence[str], options: Options, *, command: str, folder: Path = RESULTS) -> str:
    """Measure figures, keep each as soon as it is there, and return the table of all that are kept."""
    file = folder / "speed.json"
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    kept = {name: each for name, each in kept.items() if name in FIGURES}
    text = ""
    for name in names:
        torch.manual_seed(0)
        start = time.perf_counter()
        rows = [asdict(row) for row in FIGURES[name].measure(options)]
        kept[name] = {
            "title": FIGURES[name].title,
            "rows": rows,
            "rounds": options.rounds,
            "threads": torch.get_num_threads(),
            "duration_s": round(time.perf_counter() - start),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "command": command,
            "machine": machine(),
        }
        write_atomic(file, (json.dumps(kept, indent=2) + "\n").encode())
        text = table(kept)
        write_atomic(folder / "speed.md", text.encode())
        print(f"{name}: {kept[name]['duration_s']} s", flush=True)
    return text


def table(kept: dict[str, Any]) -> str:
    """All figures as Markdown."""
    lines = ["# What CAVGA costs", "", "Medians of calls in turn in one process; a goal's ratio is met, or **missed**."]
    for name in (each for each in FIGURES if each in kept):
        figure = kept[name]
        rows, place = figure["rows"], figure["machine"]
        columns = list(dict.fromkeys(key for row in rows for key in row["numbers"]))
        lines += ["", f"## ({name}) {figure['title']}", ""]
        lines.append(
            f"`{figure['command']}`: {figure['rounds']} rounds, {figure['threads']} thread, {place['cpu']}, "
            f"{place['cores']} cores, torch {place['versions']['torch']}, {place['date']}, {figure['duration_s']} s."
        )
        head = ["case", *columns, f"ratio: {FIGURES[name].ratio}" if FIGURES[name].ratio else "ratio", "goal"]
        lines += ["", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        for row in rows:
            cells = [row["case"], *(_number(row["numbers"].get(key)) for key in columns), _number(row["ratio"])]
            lines.append(f"| {' | '.join([*cells, row['remark'] or _verdict(row)])} |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _verdict(row: dict[str, Any]) -> str:
    return "" if row["met"] is None else f"{row['goal']}: {'met' if row['met'] else '**missed**'}"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=list(FIGURES), default=list(FIGURES), help="figures (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--threads", type=int, default=1, help="of torch and of ONNX Runtime (default: 1)")
    parser.add_argument("--data", type=Path, help="a folder of data sets, for f")
    parser.add_argument("--long", action="store_true", help=f"g also with {LONG:,} images")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    images = (*Options.images, LONG) if args.long else Options.images
    words = ["--only", *args.only] if args.only != list(FIGURES) else []
    words += ["--long"] if args.long else []
    words += ["--data", "DIR"] if args.data else []
    words += ["--rounds", str(args.rounds)] if args.rounds != Options.rounds else []
    words += ["--threads", str(args.threads)] if args.threads != 1 else []
    command = " ".join(["python benchmarks/speed.py", *words])
    print(run(args.only, Options(rounds=args.rounds, data=args.data, images=images), command=command))


if __name__ == "__main__":
    main()
