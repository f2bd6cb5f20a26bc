"""Write the notebooks from their text: ``python tutorials/build.py [NAME ...]`` runs each ``.py`` into its ``.ipynb``.

The ``.py`` files (jupytext, py:percent) are what people edit and review; a notebook holds the same cells and, so that
it can be read without running it, small outputs. They run in a folder of their own beside links to ``bundles`` and
``benchmarks``, so that nothing of a run stays in the checkout. ``make tutorials`` calls this; the tests run the same.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "tutorials").glob("[0-9]*.py"))
MOST_BYTES = 300_000  # of a notebook
SECONDS = 600  # for one cell, on a busy machine
_PNG_BYTES = 40_000  # a picture above is kept as JPEG
_NOISE = re.compile(r"\d%\||Warning: |^\s*$")  # bars of progress, libraries' warnings with their paths, empty lines
_DATA = re.compile(r"^DATA = None\b", re.MULTILINE)
_PLACE = re.compile(r"(?<![\w.~])/(?:home|root|tmp|work|usr|opt|var|private|Users|workspace)/|[A-Z]:\\\\Users")


def read(source: Path, *, data: str | None = None) -> Any:
    """A tutorial's text as a notebook without outputs.

    Args:
        source: of `SOURCES`.
        data: what ``DATA`` in the first cells becomes; None: phantoms.

    Raises:
        ValueError: if there is not exactly one line ``DATA = None``.
    """
    text = source.read_text(encoding="utf-8")
    if len(_DATA.findall(text)) != 1:
        raise ValueError(f"{source.name} has {len(_DATA.findall(text))} lines 'DATA = None', expected one")
    if data is not None:
        text = _DATA.sub(f"DATA = {data!r}", text)
    notebook = jupytext.reads(text, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"  # else drawn at random, and every line of a diff
    return notebook


def execute(notebook: Any, folder: Path) -> None:
    """Run a notebook in place; pictures come out small, lines of progress and libraries' warnings not at all.

    Args:
        notebook: of `read`.
        folder: an empty one, for all that it writes.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    here = folder / "tutorials"
    here.mkdir(parents=True)
    for name in ("bundles", "benchmarks"):
        (folder / name).symlink_to(ROOT / name, target_is_directory=True)
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # else one output or two, as it happens
        resources={"metadata": {"path": here}},
    )
    client.execute(env={"OMP_NUM_THREADS": "1", **os.environ, "TQDM_DISABLE": "1"})
    notebook.metadata.pop("language_info", None)  # holds the version of Python
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if not _is_noise(each)]
            for output in cell.outputs:
                _shrink(output)


def check(text: str) -> None:
    """Refuse a notebook that is large or names a place of the machine that ran it.

    Raises:
        ValueError: saying which.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(
            f"the notebook has {len(text)} bytes, expected at most {MOST_BYTES}: fewer or smaller pictures"
        )
    for cell in json.loads(text)["cells"]:
        for output in cell.get("outputs", ()):
            shown = json.dumps(
                {**output, "data": {k: v for k, v in output.get("data", {}).items() if "image" not in k}}
            )
            if found := _PLACE.search(shown):
                around = shown[max(0, found.start() - 60) : found.end() + 40]
                raise ValueError(f"an output names a path of this machine: ...{around}...")


def build(source: Path) -> Path:
    """Run one tutorial and write its notebook beside it."""
    notebook = read(source)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder) / "run")
    text = nbformat.writes(notebook)
    check(text)
    target = source.with_suffix(".ipynb")
    target.write_text(text + "\n", encoding="utf-8")
    return target


def _is_noise(output: Any) -> bool:
    return output.get("name") == "stderr" and bool(_NOISE.search(output["text"]))


def _shrink(output: Any) -> None:
    """A large PNG becomes a JPEG, photographs in a third of the bytes; a small one, curves, keeps 64 colours."""
    png = output.get("data", {}).pop("image/png", None)
    if png is None:
        return
    buffer, kind = io.BytesIO(), "jpeg" if len(png) > _PNG_BYTES else "png"
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        if kind == "jpeg":
            picture.convert("RGB").save(buffer, format="JPEG", quality=80, optimize=True)
        else:
            picture.convert("RGB").quantize(64).save(buffer, format="PNG", optimize=True)
    output["data"][f"image/{kind}"] = base64.b64encode(buffer.getvalue()).decode() + "\n"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [source.stem for source in SOURCES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(names)} (default: all)")
    args = parser.parse_args()
    if unknown := sorted(set(args.names) - set(names)):
        parser.error(f"no tutorial {unknown[0]}: expected some of {', '.join(names)}")
    for source in SOURCES:
        if not args.names or source.stem in args.names:
            target = build(source)
            print(f"wrote tutorials/{target.name}, {target.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
