"""Figure of the clinical command: photographs in, maps and pages out, beside the encoder's forward pass."""

from __future__ import annotations

import math
import shutil
import tempfile
from itertools import count
from pathlib import Path

import torch
from reporting import HERE
from speed_timing import Options, Row, interleaved, peak_growth_mib, peak_mib

from monai_cavga.clinical.localize import Localizer
from monai_cavga.clinical.model import load_model
from monai_cavga.clinical.read import Reader
from monai_cavga.data import write_phantoms
from monai_cavga.data.read import SUFFIXES
from monai_cavga.networks import ResNetEncoder

BUNDLE = HERE.parent / "bundles" / "idrid"
NETWORK = (416, 640)  # the size that the shipped model sees
PHOTOGRAPHS = 4
KINDS = {
    "its json": ("json",),
    "what is written by default": ("map", "overlay", "json", "page"),
}


def localising(options: Options) -> list[Row]:
    """(j) `localize` with the shipped model on made photographs; 1 would be the encoder's pass and nothing else.

    Its memory is what this process holds more at work and all that the decoding process holds, which is there for it.
    """
    encoder, image = ResNetEncoder(stages=3).eval(), torch.rand(1, 3, *NETWORK)
    rows = []
    with tempfile.TemporaryDirectory() as folder, Reader() as reader, torch.inference_mode():
        write_phantoms(Path(folder, "data"), normal=PHOTOGRAPHS, anomalous=1, size=options.photograph, progress=False)
        images = sorted(path for path in Path(folder, "data").rglob("non_glaucoma/image/*") if path.suffix in SUFFIXES)
        model, number = load_model(BUNDLE), count()
        for words, kinds in KINDS.items():
            localizer = Localizer(model, reader, kinds=kinds)

            def run(localizer: Localizer = localizer) -> None:
                output = Path(folder, str(next(number)))
                states = [outcome.state for outcome in localizer.run(images, output)]
                if states != ["ok"] * PHOTOGRAPHS:
                    raise RuntimeError(f"outcomes are {states}, expected {PHOTOGRAPHS} times ok")
                shutil.rmtree(output)

            run()  # starts the decoding process, and loads what is loaded once
            memory = {
                "encoder, more at work, MiB": peak_growth_mib(lambda: encoder(image)),
                "localize, more at work, MiB": peak_growth_mib(run),
                "its decoding process, MiB": peak_mib(reader.process),
            }
            calls = {"encoder": lambda: [encoder(image) for _ in range(PHOTOGRAPHS)], "localize": run}
            timing = interleaved(calls, options.rounds)
            numbers = {
                "encoder, s an image": timing.median("encoder") / PHOTOGRAPHS,
                "localize, s an image": timing.median("localize") / PHOTOGRAPHS,
                "images/s": PHOTOGRAPHS / timing.median("localize"),
                **memory,
                "memory: localize and decoding / encoder": times_as_much(memory),
            }
            case = f"{words}; {options.photograph[0]} x {options.photograph[1]}"
            rows.append(Row(case, numbers, timing.ratio("localize", "encoder")))
    return rows


def times_as_much(memory: dict[str, float | None]) -> float | None:
    """The sum of all but the first over the first; None where one is not known."""
    first, *others = (math.nan if each is None else each for each in memory.values())
    ratio = sum(others) / first if first else math.nan
    return None if math.isnan(ratio) else ratio
