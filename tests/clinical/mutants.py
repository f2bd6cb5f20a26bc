"""Damaged image files: good ones of every kind that is read, and seeded mutants of their bytes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from dicom_files import dicom_image
from PIL import Image

from monai_cavga.data import phantom

Named = tuple[str, bytes]


def good_files(size: tuple[int, int] = (96, 144)) -> dict[str, bytes]:
    """One file of each kind, all of photographs that the quality gate lets through."""
    picture, _ = phantom(7, size=size, lesions=True)
    made: dict[str, bytes] = {}
    for name, kind in (("photo.png", "PNG"), ("photo.jpg", "JPEG"), ("photo.tif", "TIFF")):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, kind)
        made[name] = stream.getvalue()
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "TIFF", compression="tiff_lzw")
    made["packed.tif"] = stream.getvalue()
    stream = io.BytesIO()
    Image.fromarray(picture[..., 1].astype(np.uint16) * 257).save(stream, "PNG")
    made["deep.png"] = stream.getvalue()
    slice_ = nibabel.Nifti1Image(np.ascontiguousarray(picture.transpose(1, 0, 2)[:, :, None]), np.eye(4))
    made["slice.nii"] = slice_.to_bytes()
    made["slice.nii.gz"] = gzip.compress(slice_.to_bytes(), mtime=0)
    for kind, encoding in (("OP8", "raw"), ("OP8", "jpeg"), ("VL", "jpeg2000"), ("SC", "rle"), ("OP16", "raw")):
        pixels = picture[..., 1].astype(np.uint16) * 257 if kind == "OP16" else picture
        stream = io.BytesIO()
        dicom_image(kind, encoding=encoding, pixels=pixels).save_as(stream, enforce_file_format=True)
        made[f"{kind}_{encoding}.dcm"] = stream.getvalue()
    return made


def mutants(good: dict[str, bytes], *, number: int, seed: int = 0) -> Iterator[Named]:
    """``number`` damaged files, kind after kind; one damage each, most of it where headers are."""
    names = sorted(good)
    for index in range(number):
        random = np.random.default_rng([seed, index])
        name = names[index % len(names)]
        yield f"bad{index:04d}_{name}", _damaged(bytearray(good[name]), random)


def _damaged(content: bytearray, random: np.random.Generator) -> bytes:
    reach = len(content) if random.random() < 0.5 else min(len(content), 1500)
    at = int(random.integers(reach))
    span = int(random.integers(1, 200))
    damage = random.choice(["truncate", "flip", "zero", "ones", "duplicate", "length"])
    if damage == "truncate":
        del content[at:]
    elif damage == "flip":
        for place in random.integers(reach, size=int(random.integers(1, 20))):
            content[place] ^= 1 << int(random.integers(8))
    elif damage == "duplicate":
        content[at:at] = content[at : at + span]
    elif damage == "length":  # a number of four bytes becomes a huge one
        content[at : at + 4] = b"\xff\xff\xff\x7f"
    else:
        content[at : at + span] = bytes([0 if damage == "zero" else 255]) * len(content[at : at + span])
    return bytes(content)


def write_all(folder: Path, *, number: int, seed: int = 0) -> list[Path]:
    """Write mutants and, spread among them, the good files; the paths of the good ones."""
    folder.mkdir(parents=True, exist_ok=True)
    good = good_files()
    for name, content in mutants(good, number=number, seed=seed):
        (folder / name).write_bytes(content)
    paths = []
    for index, (name, content) in enumerate(sorted(good.items())):
        at = index * max(1, number // len(good))
        paths.append(folder / f"bad{at:04d}_~good_{name}")  # sorts among the bad
        paths[-1].write_bytes(content)
    return paths
