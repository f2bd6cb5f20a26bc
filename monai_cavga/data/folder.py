"""A plain folder of images, for inference on one's own photographs."""

from __future__ import annotations

import os
from pathlib import Path

from monai_cavga.data.layout import natural_key
from monai_cavga.data.read import SUFFIXES

__all__ = ["folder_items"]


def folder_items(folder: str | os.PathLike[str]) -> list[dict[str, str]]:
    """List every image below a folder, in natural order.

    Args:
        folder: searched with its sub-folders; hidden files and folders are passed over.

    Returns:
        Items with ``image`` (absolute path) and ``name`` (path below the folder, without its ending).

    Raises:
        ValueError: if there is no folder of that name, or no image in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"dataset_dir is {str(folder)!r}, expected a folder of images: there is none of that name")
    found = [
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not _hidden(path.relative_to(root))
    ]
    if not found:
        raise ValueError(f"no images in {str(folder)!r}, expected PNG, JPEG, BMP or TIFF files in it or below it")
    found.sort(key=lambda path: natural_key(str(path.relative_to(root))))
    return [
        {"image": str(path.absolute()), "name": path.relative_to(root).with_suffix("").as_posix()} for path in found
    ]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
