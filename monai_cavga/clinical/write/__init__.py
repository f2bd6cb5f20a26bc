"""What is written of a localisation: DICOM objects, pictures, pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from monai_cavga.clinical.records import Localisation

__all__ = ["DEFAULT_KINDS", "DICOM_KINDS", "KINDS", "Kind", "write_kinds"]

Kind = Literal["map", "overlay", "nifti", "json", "page", "seg", "seg_binary", "sr", "capture"]
KINDS: tuple[Kind, ...] = ("map", "overlay", "nifti", "json", "page", "seg", "seg_binary", "sr", "capture")
DEFAULT_KINDS: tuple[Kind, ...] = ("map", "overlay", "json", "page")
DICOM_KINDS: tuple[Kind, ...] = ("seg", "seg_binary", "sr", "capture")  # of DICOM sources only


def write_kinds(
    found: Localisation, folder: Path, stem: str, *, kinds: Sequence[Kind]
) -> tuple[dict[str, str], list[Kind]]:
    """Write one localisation; "json" and the page itself are the caller's.

    Args:
        found: what is written.
        folder: where.
        stem: safe and unique, the begin of each file's name.
        kinds: what.

    Returns:
        Names of the files by kind, and the kinds that were left out because the source is no DICOM object.

    Raises:
        ModuleNotFoundError: if DICOM objects are asked for without the extra that writes them.
    """
    files: dict[str, str] = {}
    segmentation: Any = None
    for kind in [kind for kind in KINDS if kind in kinds]:  # in this order: the report refers to the segmentation
        if kind in ("json", "page") or (kind in DICOM_KINDS and found.source.header is None):
            continue
        if kind == "sr":
            from monai_cavga.clinical.write.sr import write_sr

            write_sr(found, folder / f"{stem}_sr.dcm", segmentation=segmentation)
            files[kind] = f"{stem}_sr.dcm"
            continue
        name, write = _WRITERS[kind]
        made = write(found, folder / f"{stem}{name}")
        files[kind] = f"{stem}{name}"
        if kind in ("seg", "seg_binary") and segmentation is None:
            segmentation = made
    if "page" in kinds:
        from monai_cavga.clinical.write.page import write_pieces

        files |= write_pieces(found, folder, stem)
    left_out = [kind for kind in DICOM_KINDS if kind in kinds and found.source.header is None]
    return files, left_out


def _seg(found: Localisation, path: Path) -> Any:
    from monai_cavga.clinical.write.seg import write_seg

    return write_seg(found, path, kind="FRACTIONAL")


def _seg_binary(found: Localisation, path: Path) -> Any:
    from monai_cavga.clinical.write.seg import write_seg

    return write_seg(found, path, kind="BINARY")


def _capture(found: Localisation, path: Path) -> Any:
    from monai_cavga.clinical.write.capture import write_capture

    return write_capture(found, path)


def _map(found: Localisation, path: Path) -> None:
    from monai_cavga.clinical.write.raster import write_map

    write_map(found, path)


def _overlay(found: Localisation, path: Path) -> None:
    from monai_cavga.clinical.write.raster import write_overlay

    write_overlay(found, path)


def _nifti(found: Localisation, path: Path) -> None:
    from monai_cavga.clinical.write.raster import write_nifti

    write_nifti(found, path)


_WRITERS: Mapping[Kind, tuple[str, Callable[[Localisation, Path], Any]]] = {
    "map": ("_map.png", _map),
    "overlay": ("_overlay.png", _overlay),
    "nifti": ("_map.nii.gz", _nifti),
    "seg": ("_seg.dcm", _seg),
    "seg_binary": ("_seg_binary.dcm", _seg_binary),
    "capture": ("_capture.dcm", _capture),
}
