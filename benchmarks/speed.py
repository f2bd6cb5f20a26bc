"""What maps cost: the localiser's forward pass against the encoder's alone, interleaved in one process.

``python benchmarks/speed.py`` writes ``benchmarks/results/speed.json`` and ``.md``: medians over rounds, and their
ratios, which say more than times do on a machine that others use. Weights do not matter to time, so none are
needed; the calibration is the shipped one, which gives the latent distance no weight in ``fused``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from reporting import HERE, RESULTS, machine

from monai_cavga.calibration import load_calibration
from monai_cavga.handlers.files import write_atomic
from monai_cavga.networks import CAVGA, CAVGALocalizer

CALIBRATION = HERE.parent / "bundles" / "idrid" / "models" / "calibration.safetensors"


def interleaved(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each function, one call of each in turn, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def localiser_row(size: tuple[int, int], batch: int, rounds: int) -> dict[str, Any]:
    """Encoder alone, localiser with one map, and with all its maps."""
    network = CAVGA(stages=3, head="pyramid", decoder=False).eval()
    one = CAVGALocalizer(network, maps=["fused"]).eval()
    every = CAVGALocalizer(network, maps=["fused", "class", "latent_distance"]).eval()
    for localizer in (one, every):
        load_calibration(localizer, CALIBRATION)
    image = torch.rand(batch, 3, *size)
    with torch.inference_mode():
        medians = interleaved(
            {"encoder": lambda: network.encoder(image), "fused": lambda: one(image), "all": lambda: every(image)},
            rounds,
        )
    return {
        "size": list(size),
        "batch": batch,
        "seconds": {name: round(value, 4) for name, value in medians.items()},
        "fused_to_encoder": round(medians["fused"] / medians["encoder"], 3),
        "all_to_encoder": round(medians["all"] / medians["encoder"], 3),
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: all)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = [localiser_row(size, batch, args.rounds) for size in ((256, 384), (416, 640)) for batch in (1, 4)]
    result = {
        "command": f"python benchmarks/speed.py --rounds {args.rounds} --threads {torch.get_num_threads()}",
        "rows": rows,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "machine": machine(),
    }
    write_atomic(RESULTS / "speed.json", (json.dumps(result, indent=2) + "\n").encode())
    place = result["machine"]
    lines = [
        "# Localiser against its encoder",
        "",
        f"`{result['command']}`, {place['cpu']}, {place['cores']} cores, torch {place['versions']['torch']}, "
        f"{place['date']}; medians of {args.rounds} interleaved rounds.",
        "",
        "| image | batch | encoder, s | fused map, s | ratio | fused, class and distance: ratio |",
        "|" + "---|" * 6,
    ]
    for row in rows:
        lines.append(
            f"| {row['size'][0]} x {row['size'][1]} | {row['batch']} | {row['seconds']['encoder']:.3f} | "
            f"{row['seconds']['fused']:.3f} | {row['fused_to_encoder']:.2f} | {row['all_to_encoder']:.2f} |"
        )
    write_atomic(RESULTS / "speed.md", ("\n".join(lines) + "\n").encode())
    print("\n".join(lines))


if __name__ == "__main__":
    main()
