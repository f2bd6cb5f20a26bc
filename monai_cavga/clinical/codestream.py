"""What a compressed image says of its own size, read before any decoder sees it: a bomb is refused unopened."""

from __future__ import annotations

import struct
from typing import NamedTuple

from monai_cavga.clinical.refusal import RefusedError

__all__ = ["FrameSize", "jpeg2000_size", "jpeg_size"]

_START = b"\xff\xd8"
_NO_LENGTH = {0x01, *range(0xD0, 0xD8)}  # markers without a segment
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # tables and an extension among the start-of-frame markers
_J2K_START = b"\xff\x4f\xff\x51"  # start of codestream, then the size segment


class FrameSize(NamedTuple):
    """Height and width in pixels, number of colour components, bits of each."""

    height: int
    width: int
    components: int
    bits: int


def jpeg_size(stream: bytes) -> FrameSize:
    """Size of a JPEG or JPEG-LS stream, from its start-of-frame segment.

    Raises:
        RefusedError: if there is none.
    """
    if stream[:2] != _START:
        raise RefusedError("compressed pixels are no JPEG stream: the file is damaged; copy it again")
    position = 2
    while position + 4 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _NO_LENGTH:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", stream, position + 2)
        is_frame = (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES) or marker == 0xF7  # 0xF7: JPEG-LS
        if is_frame and position + 10 <= len(stream):
            bits, height, width, components = struct.unpack_from(">BHHB", stream, position + 4)
            return FrameSize(height, width, components, bits)
        position += 2 + length
    raise RefusedError("compressed pixels state no size: the file is truncated or damaged; copy it again")


def jpeg2000_size(stream: bytes) -> FrameSize:
    """Size of a JPEG 2000 codestream, from its size segment.

    Raises:
        RefusedError: if it does not begin with one.
    """
    if stream[:4] != _J2K_START or len(stream) < 43:
        raise RefusedError("compressed pixels are no JPEG 2000 codestream: the file is damaged; copy it again")
    right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
    (components,) = struct.unpack_from(">H", stream, 40)
    return FrameSize(bottom - top, right - left, components, (stream[42] & 0x7F) + 1)
