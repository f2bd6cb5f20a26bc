from __future__ import annotations

import random
import sys
import threading
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest
from films import SIZE, number_of, numbered, write_film

from monai_cavga.data import ImageReadError, image_size, read_image
from monai_cavga.data.clips import _OPEN_CLIPS, VideoSupportError, _cache, clip_length

COUNT = 70


def frame(path: Path, index: int) -> str:
    return f"{path}#frame={index}"


def number_or_error(path: Path, index: int) -> int | str:
    try:
        return number_of(read_image(frame(path, index)))
    except ImageReadError as err:
        return str(err)


# What a clip may hold: few key frames, pictures that are stored in another order than shown, key frames only.
UNTIMED = "h264 in avi"  # whose pictures come with others' times
KINDS = {
    "mpeg4": ("a.avi", "mpeg4", {}),
    "one key frame": ("b.avi", "mpeg4", {"g": 250}),
    "b frames": ("c.avi", "mpeg4", {"bf": 2}),
    "mjpeg": ("d.avi", "mjpeg", {}),
    "mp4": ("e.mp4", "mpeg4", {"bf": 2}),
    UNTIMED: ("f.avi", "libx264", {"bf": 2}),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("films")
    return {
        kind: write_film(root / name, numbered(COUNT), codec=codec, **options)
        for kind, (name, codec, options) in KINDS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_found_in_any_order(films: dict[str, Path], kind: str) -> None:
    path = films[kind]
    assert clip_length(path) == COUNT
    order = [*range(0, COUNT, 5), *random.Random(0).sample(range(COUNT), 30), COUNT - 1, COUNT - 1, 0]
    assert [number_of(read_image(frame(path, index))) for index in order] == order


def test_pixels_are_upright_and_in_colour(films: dict[str, Path]) -> None:
    pixels = read_image(frame(films["mpeg4"], 3))
    assert pixels.shape == (*SIZE, 3)
    assert np.allclose(pixels[50, 20], np.array([220, 30, 30]) / 255, atol=0.08)
    grey = read_image(frame(films["mpeg4"], 3), channels=1)
    assert grey.shape == (*SIZE, 1)
    assert grey[50, 20, 0] == pytest.approx((0.299 * 220 + 0.587 * 30 + 0.114 * 30) / 255, abs=0.08)
    assert image_size(frame(films["mpeg4"], 3)) == SIZE


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_counted_only_where_their_times_are_wrong(films: dict[str, Path], kind: str) -> None:
    _cache.clips.clear()
    for index in (5, 6, 40, 3):
        assert number_of(read_image(frame(films[kind], index))) == index
    assert [clip.timed for clip in _cache.clips.values()] == [kind != UNTIMED]


def test_threads_and_processes_do_not_disturb_each_other(films: dict[str, Path]) -> None:
    """A forked process shares its parent's open file, and so the position in it."""
    path = films["one key frame"]
    got: dict[int, list[int]] = {}

    def work(first: int) -> None:
        got[first] = [number_of(read_image(frame(path, index))) for index in range(first, COUNT, 7)]

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {first: list(range(first, COUNT, 7)) for first in range(4)}

    assert number_of(read_image(frame(path, 20))) == 20
    with get_context("fork").Pool(2) as pool:
        read = [pool.apply_async(_read, (frame(path, index),)) for index in (25, 30, 10, 69)]
        assert number_of(read_image(frame(path, 21))) == 21
        assert [each.get(60) for each in read] == [25, 30, 10, 69]
    assert number_of(read_image(frame(path, 22))) == 22


def _read(path: str) -> int:
    return number_of(read_image(path))


def test_few_clips_stay_open(tmp_path: Path) -> None:
    _cache.clips.clear()
    paths = [write_film(tmp_path / f"{k}.avi", numbered(6)[k:]) for k in range(_OPEN_CLIPS + 2)]
    assert [number_of(read_image(frame(path, 0))) for path in paths] == list(range(len(paths)))
    assert len(_cache.clips) == _OPEN_CLIPS
    assert number_of(read_image(frame(paths[0], 0))) == 0
    write_film(paths[0], numbered(20)[9:])  # another clip of that name
    assert number_of(read_image(frame(paths[0], 0))) == 9


def test_a_damaged_place_spoils_only_what_depends_on_it(films: dict[str, Path], tmp_path: Path) -> None:
    """hand: key frames are frames 0, 12, 24, 36 and so on; what is damaged is frame 30, and 31 to 35 build on it."""
    with av.open(str(films["mpeg4"])) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
    content = bytearray(films["mpeg4"].read_bytes())
    content[packet.pos + 10 : packet.pos + packet.size] = bytes(packet.size - 10)  # behind the AVI chunk's header
    path = tmp_path / "damaged.avi"
    path.write_bytes(content)
    refused = []
    for index in range(COUNT):
        got = number_or_error(path, index)
        if isinstance(got, str):
            refused.append(index)
            assert f"damaged.avi#frame={index}: got" in got
        else:
            assert got == index
    assert refused == [30, 31, 32, 33, 34, 35]


def test_a_cut_clip_gives_no_wrong_frame(films: dict[str, Path], tmp_path: Path) -> None:
    """Its index was at the end."""
    for part in (0.3, 0.6, 0.9):
        path = tmp_path / f"cut{part}.avi"
        path.write_bytes(films["mpeg4"].read_bytes()[: int(part * films["mpeg4"].stat().st_size)])
        for index in range(0, COUNT - 1, 4):
            got = number_or_error(path, index)
            assert path.name in got if isinstance(got, str) else got == index
        with pytest.raises(ImageReadError, match="copy it again"):
            read_image(frame(path, COUNT - 1))


def test_what_is_no_clip_is_named(films: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"absent\.avi: got no such file"):
        read_image(frame(tmp_path / "absent.avi", 0))
    for name, content, text in (("empty.avi", b"", "an empty file"), ("text.avi", b"no film" * 99, "got Invalid")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageReadError, match=rf"{name}: .*{text}"):
            read_image(frame(tmp_path / name, 0))
        with pytest.raises(ImageReadError, match=text):
            clip_length(tmp_path / name)
    with pytest.raises(ImageReadError, match=rf"#frame={COUNT}: got {COUNT} frames, expected more than {COUNT}"):
        read_image(frame(films["mpeg4"], COUNT))
    _cache.clips.clear()
    with pytest.raises(ImageReadError, match="frames of 64 x 96, expected at most 100 pixels"):
        read_image(frame(films["mpeg4"], 0), max_pixels=100)


def test_without_pyav_one_line_says_what_to_install(films: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _cache.clips.clear()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoSupportError, match=r"pip install 'av>=16'"):
        read_image(frame(films["mpeg4"], 0))
