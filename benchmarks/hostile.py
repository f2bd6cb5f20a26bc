"""A thousand damaged image files through ``python -m monai_cavga localize``: what became of them.

    python benchmarks/hostile.py [--number 1000] [--seed 0]

Needs the checkout's ``tests/``. Writes ``results/hostile.json``: counts of outcomes, and whether every good file among
them was localised.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from reporting import HERE, RESULTS, machine

from monai_cavga.handlers.files import write_atomic

sys.path.insert(0, str(HERE.parent / "tests" / "clinical"))

from mutants import write_all
from tiny_bundle import write_bundle


def main() -> None:
    """Make the files, run the command, write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=1000, help="damaged files")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        good = write_all(root / "in", number=args.number, seed=args.seed)
        bundle = write_bundle(root / "bundle")
        command = [sys.executable, "-m", "monai_cavga", "localize", str(root / "in"), "--bundle", str(bundle)]
        command += ["--output", str(root / "out"), "--write", "map"]
        begin = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - begin
        images = json.loads((root / "out" / "results.json").read_text())["images"]
    states = {each["path"]: each["state"] for each in images}
    content = {
        "files": len(images),
        "damaged": args.number,
        "good": len(good),
        "good_localised": sum(states[str(path)] == "ok" for path in good),
        "outcomes": dict(sorted(Counter(states.values()).items())),
        "decoders_that_died": sum("decoder died" in each["reason"] for each in images),
        "decoders_that_hung": sum("took more than" in each["reason"] for each in images),
        "tracebacks": done.stderr.count("Traceback"),
        "exit_code": done.returncode,
        "seed": args.seed,
        "seconds": round(seconds, 1),
        "machine": machine(),
    }
    print(write_atomic(RESULTS / "hostile.json", (json.dumps(content, indent=1) + "\n").encode()))


if __name__ == "__main__":
    main()
