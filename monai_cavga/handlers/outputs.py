"""Reading an engine's output items: name, source file, score, label."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def outputs_of(engine: Any) -> list[tuple[str, str | None, Mapping[str, Any]]]:
    """The images of the iteration just done, each as name, base name of its source file, output item.

    Keys that only the batch holds complete the item: MONAI's postprocessing puts a result under a key that the batch
    had already (``fov``, ``name``) back into the batch.
    The name is the output's or the batch's ``name``, else the source file's stem, else ``image_0001`` by position.

    Raises:
        TypeError: if the output is not a list of dicts.
    """
    outputs, batch = engine.state.output, engine.state.batch
    if not isinstance(outputs, list) or not all(isinstance(each, Mapping) for each in outputs):
        raise TypeError(
            f"engine.state.output is {type(outputs).__name__}, expected a list of one dict for each image: "
            "make the engine with decollate=True and a postprocessing transform"
        )
    found: list[tuple[str, str | None, Mapping[str, Any]]] = []
    for index, item in enumerate(outputs):
        given = (
            batch[index] if isinstance(batch, list) and index < len(batch) and isinstance(batch[index], Mapping) else {}
        )
        source = source_of(item) or source_of(given)
        name = item.get("name", given.get("name"))
        if name is None:
            name = Path(source).stem if source else f"image_{index + 1:04d}"
        found.append((str(name), source, {**given, **item}))
    return found


def source_of(item: Mapping[str, Any]) -> str | None:
    """Base name of the file an item's image was read from, by its MetaTensor; None where that is not known."""
    path = getattr(item.get("image"), "meta", {}).get("filename_or_obj")
    return re.split(r"[\\/]", str(path))[-1] if path else None


def score_of(item: Mapping[str, Any]) -> float | None:
    """The image score as a number, None where the item has none."""
    return None if item.get("score") is None else float(item["score"])


def label_of(item: Mapping[str, Any]) -> int | None:
    """The label as a number, None where the item has none."""
    return None if item.get("label") is None else int(item["label"])


def check_positive(**numbers: int) -> None:
    """Refuse options below 1, by name.

    Raises:
        ValueError: if a number is below 1.
    """
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}, expected at least 1")
