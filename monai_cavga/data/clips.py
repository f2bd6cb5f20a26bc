"""Single frames of film clips, decoded where they lie.

A clip is opened once in each thread and its list of frames made from the packets' headers, which decodes nothing. A
frame is then reached from the last key frame before it, or by going on from where the decoder stands.
"""

from __future__ import annotations

import bisect
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_cavga.data.errors import check_file, read_error

_OPEN_CLIPS = 4  # in each thread
_CLIP = "a film clip that FFmpeg decodes (AVI or MP4)"
_DAMAGED = "the clip is damaged or of another format: copy it again from its source"


class VideoSupportError(ImportError):
    """PyAV is not installed; the text says how to install it."""


def read_clip(path: str | os.PathLike[str], index: int, *, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode one frame.

    Args:
        path: the clip.
        index: of the frame in the order of display, from 0.
        max_pixels: height times width above which the clip is refused before it is decoded.

    Returns:
        ``(H, W, 3)``, uint8, RGB, rows as displayed.

    Raises:
        ImageReadError: if the clip is missing, empty, damaged, too large, or has no such frame.
        VideoSupportError: if PyAV is not installed.
    """
    return _opened(os.fspath(path), max_pixels).read(index)


def clip_length(path: str | os.PathLike[str]) -> int:
    """Number of frames that a clip's header states, or where it states none, that the file holds.

    Raises:
        ImageReadError: if the clip is missing, empty or no clip.
        VideoSupportError: if PyAV is not installed.
    """
    av = _av()
    with _open(av, os.fspath(path)) as container:
        stream = container.streams.video[0]
        return stream.frames or len(_times(path, container, stream)[0])


class _Clip:
    """An open clip and where its decoder stands."""

    def __init__(self, path: str, max_pixels: int) -> None:
        self.path = path
        self.av = _av()
        self.container = _open(self.av, path)
        self.stream = self.container.streams.video[0]
        self.stream.thread_count = 1  # loading processes are the parallel part
        context = self.stream.codec_context
        if context.height * context.width > max_pixels:
            remedy = "reduce the clip before it is read"
            got = f"frames of {context.height} x {context.width}"
            raise read_error(path, got=got, expected=f"at most {max_pixels} pixels", remedy=remedy)
        self.times, self.keys = _times(path, self.container, self.stream)
        self.timed = True  # False where the decoder's times are others than the packets': frames are then counted
        self.whole = True  # False once fewer frames came than there are packets
        self.sound = True  # False from a damaged picture to the next key frame: what lies between builds on it
        self.decoder: Iterator[Any] = iter(())
        self.next = len(self.times)  # what the decoder gives next; the end = nothing
        if len(self.times) < self.stream.frames:  # cut: without its index at the end an AVI is found by no time
            self._count()
            if not self.whole:
                got = f"fewer than {len(self.times)} whole frames"
                raise read_error(path, got=got, expected=f"{self.stream.frames}, as its header says", remedy=_DAMAGED)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        if index >= len(self.times):
            got = f"{len(self.times)} frames"
            raise self._error(index, got=got, expected=f"more than {index}", remedy="the clip was cut: copy it again")
        try:
            frame = self._advance(index)
            if frame is None and self.timed and self.whole:
                self._count()
                frame = None if self.timed else self._advance(index)
        except self.av.FFmpegError as err:
            self.next = len(self.times)
            raise self._error(index, got=f"{type(err).__name__} ({err})", remedy=_DAMAGED) from err
        if frame is None or not self.sound:
            raise self._error(index, got="no whole picture there", remedy=_DAMAGED)
        pixels: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24", threads=1)
        return pixels

    def _advance(self, index: int) -> Any | None:
        """The frame, or None where it does not come when it should."""
        key = self.keys[bisect.bisect_right(self.keys, index) - 1] if self.timed else 0
        if not self.next <= index or key > self.next:
            self.container.seek(self.times[key], stream=self.stream)
            self.decoder, self.next, self.sound = self.container.decode(self.stream), key, True
        for frame in self.decoder:
            if self.timed and frame.pts is not None and frame.pts < self.times[self.next]:
                continue  # before the key frame
            if self.timed and frame.pts != self.times[self.next]:
                break
            self.sound = (self.sound or frame.key_frame) and not frame.is_corrupt
            self.next += 1
            if self.next == index + 1:
                return frame
        self.next = len(self.times)
        return None

    def _count(self) -> None:
        """Decode the whole clip once: only if every packet gives a frame can frames be counted."""
        self.container.seek(self.times[0], stream=self.stream)
        self.next = len(self.times)
        try:
            self.whole = sum(1 for _ in self.container.decode(self.stream)) == len(self.times)
        except self.av.FFmpegError:
            self.whole = False
        self.timed = not self.whole

    def _error(self, index: int, *, got: str, expected: str = _CLIP, remedy: str) -> Exception:
        return read_error(f"{self.path}#frame={index}", got=got, expected=expected, remedy=remedy)


class _Cache(threading.local):
    """The clips that a thread has open, the last used last.

    A forked process starts anew: it shares the position in the file with its parent. That it may free its parent's
    clips is why nothing here has FFmpeg use threads: they are not there after a fork, and it would wait for them.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.clips: OrderedDict[tuple[str, int, int], _Clip] = OrderedDict()


_cache = _Cache()


def _opened(path: str, max_pixels: int) -> _Clip:
    if _cache.process != os.getpid():
        _cache.__init__()  # type: ignore[misc]
    check_file(path, expected=_CLIP)
    state = os.stat(path)
    key = (path, state.st_mtime_ns, state.st_size)
    clip = _cache.clips.pop(key, None) or _Clip(path, max_pixels)
    _cache.clips[key] = clip
    if len(_cache.clips) > _OPEN_CLIPS:
        _cache.clips.popitem(last=False)[1].container.close()
    return clip


def _av() -> ModuleType:
    try:
        import av
    except ImportError as err:
        raise VideoSupportError(
            "reading film clips needs PyAV: pip install 'av>=16', or unpack the clips into frames"
        ) from err
    return av


def _open(av: ModuleType, path: str) -> Any:
    check_file(path, expected=_CLIP)
    try:
        container = av.open(path)
    except (av.FFmpegError, ValueError) as err:
        raise read_error(path, got=f"{type(err).__name__} ({err})", expected=_CLIP, remedy=_DAMAGED) from err
    if not container.streams.video:
        raise read_error(path, got="a file without pictures", expected=_CLIP, remedy=_DAMAGED)
    return container


def _times(path: str | os.PathLike[str], container: Any, stream: Any) -> tuple[list[int], list[int]]:
    """Times of the frames in the order of display, and which of them are key frames."""
    times, keys = [], []
    for packet in container.demux(stream):
        time = packet.dts if packet.pts is None else packet.pts
        if packet.size and time is not None:
            times.append(time)
            if packet.is_keyframe:
                keys.append(time)
    if not times:
        raise read_error(path, got="no frame", expected=_CLIP, remedy=_DAMAGED)
    times.sort()
    return times, sorted({0, *(bisect.bisect_left(times, time) for time in keys)})
