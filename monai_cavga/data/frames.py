"""One frame of a film or of a stack of masks as a path: ``01_001.avi#frame=25``, ``01_0014.npy#frame=25``.

Such a path stands wherever an image's path may: :func:`monai_cavga.data.read.read_image` and ``read_mask`` understand
it, so a data list holds single frames and nothing is decoded or copied before an image is asked for.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from monai_cavga.data.errors import check_file, read_error

CLIP_SUFFIXES = (".avi", ".mp4")
STACK_SUFFIX = ".npy"
_STACK = "a .npy array of whole numbers or booleans, (T, H, W) or (H, W, T)"
_PATH = re.compile(r"(?P<file>.+\.(?:avi|mp4|npy))#frame=(?P<index>\d+)(?P<last>,axis=2)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Frame:
    """One frame of a file."""

    file: str
    index: int  # from 0
    last_axis: bool = False  # of a stack: frames along the last axis, (H, W, T)

    def __str__(self) -> str:
        """The path that :func:`frame_of` reads."""
        return f"{self.file}#frame={self.index}{',axis=2' if self.last_axis else ''}"


def frame_of(path: str | os.PathLike[str]) -> Frame | None:
    """The frame that a path names, or None for the path of a whole file."""
    found = _PATH.fullmatch(os.fspath(path))
    return Frame(found["file"], int(found["index"]), last_axis=bool(found["last"])) if found else None


def open_frame(frame: Frame, *, max_pixels: int) -> Image.Image:
    """Decode one frame: RGB of a clip, of a stack of masks 255 wherever it is not 0.

    Args:
        frame: which.
        max_pixels: height times width above which a frame is refused.

    Raises:
        ImageReadError: if the file is missing, damaged, too large, or has no such frame.
        VideoSupportError: for a clip, if PyAV is not installed.
    """
    if frame.file.lower().endswith(STACK_SUFFIX):
        return Image.fromarray(_plane(frame, max_pixels))
    from monai_cavga.data.clips import read_clip  # here, because of PyAV's weight

    return Image.fromarray(read_clip(frame.file, frame.index, max_pixels=max_pixels))


def open_stack(path: str | os.PathLike[str]) -> npt.NDArray[np.generic]:
    """A stack of masks, or the labels of frames, as a memory map: nothing of it is read yet.

    Raises:
        ImageReadError: if the file is missing, empty, damaged, no array, or neither of whole numbers nor of booleans.
    """
    check_file(path, expected=_STACK)
    try:
        stack = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as err:
        remedy = "the file is damaged or of another format: copy it again"
        raise read_error(path, got=f"{type(err).__name__} ({err})", expected=_STACK, remedy=remedy) from err
    if not isinstance(stack, np.ndarray) or stack.dtype.kind not in "biu":
        got = f"values of type {stack.dtype}" if isinstance(stack, np.ndarray) else "an archive of arrays"
        raise read_error(path, got=got, expected=_STACK, remedy="save 0 where normal and 1 where anomalous")
    return stack


def frames_are_last(
    path: str | os.PathLike[str], shape: tuple[int, ...], *, frames: int, size: tuple[int, int]
) -> bool:
    """Whether a stack of masks is (H, W, T), False for (T, H, W), which wins where both fit.

    Args:
        path: of the stack, for the error.
        shape: of the stack.
        frames: how many its clip has.
        size: height and width of these.

    Raises:
        ImageReadError: if it is neither.
    """
    if shape == (frames, *size):
        return False
    if shape == (*size, frames):
        return True
    raise read_error(
        path,
        got=f"an array of shape {shape}",
        expected=f"{(frames, *size)} (T, H, W) or {(*size, frames)} (H, W, T), as its clip has {frames} frames",
        remedy="copy masks and frames again, from one source",
    )


def _plane(frame: Frame, max_pixels: int) -> npt.NDArray[np.uint8]:
    stack = open_stack(frame.file)
    axis = 2 if frame.last_axis else 0
    if stack.ndim != 3 or frame.index >= stack.shape[axis]:
        remedy = "copy masks and frames again, from one source"
        raise read_error(str(frame), got=f"an array of shape {stack.shape}", expected=_STACK, remedy=remedy)
    plane = stack[..., frame.index] if frame.last_axis else stack[frame.index]
    if math.prod(plane.shape) > max_pixels:
        remedy = "reduce the masks before they are read"
        got = f"{plane.shape[0]} x {plane.shape[1]} pixels"
        raise read_error(str(frame), got=got, expected=f"at most {max_pixels} pixels", remedy=remedy)
    return np.where(np.asarray(plane) != 0, np.uint8(255), np.uint8(0))
