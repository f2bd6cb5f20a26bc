"""Film clips encoded by the tests, whose frames show their own number."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIZE = (64, 96)
_BITS = 8


def write_film(path: Path, frames: np.ndarray, *, codec: str = "mpeg4", **options: object) -> Path:
    """Encode ``(T, H, W, 3)`` uint8."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 2_000_000
        stream.options = {key: str(value) for key, value in options.items()}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def numbered(count: int) -> np.ndarray:
    """Frames with their number in binary, as blocks along the upper edge; the lower left is red."""
    frames = np.full((count, *SIZE, 3), 90, np.uint8)
    for number in range(count):
        for bit in range(_BITS):
            frames[number, :16, 12 * bit : 12 * (bit + 1)] = 255 * (number >> bit & 1)
    frames[:, 40:, :48] = (220, 30, 30)
    return frames


def number_of(pixels: np.ndarray) -> int:
    """What `numbered` wrote; pixels in [0, 1]."""
    return sum(int(pixels[8, 12 * bit + 6].mean() > 0.5) << bit for bit in range(_BITS))
