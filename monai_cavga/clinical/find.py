"""From what a user names on the command line to the files that are read."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from monai_cavga.clinical.decode import DICOM_SUFFIXES, IMAGE_SUFFIXES, NIFTI_SUFFIXES, is_dicom
from monai_cavga.data.layout import natural_key

__all__ = ["find_images"]

_SUFFIXES = (*IMAGE_SUFFIXES, *DICOM_SUFFIXES, *NIFTI_SUFFIXES)


def find_images(inputs: Sequence[str | Path], *, output: Path) -> list[Path]:
    """Files of the inputs, each once, in natural order within each input.

    A file is taken as it is. Of a folder and its sub-folders, files with the ending of an image, of DICOM or of NIfTI
    are taken, and DICOM files of any name; what is hidden and what lies below ``output`` is passed over.

    Args:
        inputs: files, folders, or patterns such as ``"scans/**/*.png"``.
        output: where results go.

    Raises:
        FileNotFoundError: if an input is not there, or a pattern or folder has no image.
    """
    found: dict[str, Path] = {}  # by real path: the same file under two names is one
    for each in inputs:
        files = [file for match in _matches(str(each)) for file in _files(match, output.resolve())]
        if not files:
            raise FileNotFoundError(f"no image in {each}: expected DICOM, PNG, JPEG, TIFF or NIfTI files")
        for file in files:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def _matches(text: str) -> list[Path]:
    if os.path.lexists(text):
        return [Path(text)]
    matches = sorted(glob.glob(text, recursive=True), key=natural_key) if glob.has_magic(text) else []
    if not matches:
        raise FileNotFoundError(f"no such file, folder or pattern: {text}")
    return [Path(match) for match in matches]


def _files(path: Path, output: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path  # whatever it is: the reader says
        return
    for folder, names, files in os.walk(path):
        names[:] = sorted((name for name in names if not name.startswith(".")), key=natural_key)
        names[:] = [name for name in names if Path(folder, name).resolve() != output]
        for name in sorted(files, key=natural_key):
            file = Path(folder, name)
            if not name.startswith(".") and file.is_file() and (name.lower().endswith(_SUFFIXES) or is_dicom(file)):
                yield file
