"""Files of many small images: what is read, and that damage is named before anything large is allocated."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cavga.data.packed import archive_names, kept_idx, packed_image, packed_name, read_cifar_batch, read_idx
from monai_cavga.data.read import ImageReadError, image_size, read_image

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 6), dtype=np.uint8)  # (n, H, W), not square


def idx_bytes(values: np.ndarray, *, shape: tuple[int, ...] | None = None, magic: bytes | None = None) -> bytes:
    header = magic or bytes((0, 0, 8, values.ndim))
    return header + np.array(shape or values.shape, dtype=">u4").tobytes() + values.tobytes()


@pytest.fixture
def idx(tmp_path: Path) -> Path:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx_bytes(IMAGES))
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_round_trip(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / ("a-idx3-ubyte.gz" if zipped else "a-idx3-ubyte")
    path.write_bytes(gzip.compress(idx_bytes(IMAGES)) if zipped else idx_bytes(IMAGES))
    np.testing.assert_array_equal(read_idx(path), IMAGES)
    name = packed_name(path, 2)
    assert name.endswith("#image=2")
    np.testing.assert_array_equal(read_image(name, channels=1)[..., 0], IMAGES[2].astype(np.float32) / 255)
    assert read_image(name).shape == (4, 6, 3)
    assert image_size(name) == (4, 6)


def test_a_file_is_read_once_until_it_changes(idx: Path) -> None:
    assert kept_idx(idx) is kept_idx(idx)
    before = kept_idx(idx)
    idx.write_bytes(idx_bytes(IMAGES[:2]))
    assert len(kept_idx(idx)) == 2
    assert len(before) == 3


def test_cifar_batch_by_hand(tmp_path: Path) -> None:
    """hand: a label, then all reds, greens and blues, row by row."""
    record = np.zeros((2, 3073), dtype=np.uint8)
    record[:, 0] = (3, 9)
    record[1, 1 + 1024 + 32 * 5 + 7] = 200  # green of row 5, column 7
    path = tmp_path / "test_batch.bin"
    path.write_bytes(record.tobytes())
    images, labels = read_cifar_batch(path)
    assert labels.tolist() == [3, 9]
    assert images.shape == (2, 32, 32, 3)
    assert images[1, 5, 7].tolist() == [0, 200, 0]
    assert images.sum() == 200
    assert read_image(packed_name(path, 1))[5, 7, 1] == np.float32(200 / 255)
    assert read_image(packed_name(path, 1), channels=1)[5, 7, 0] == pytest.approx(0.587 * 200 / 255, abs=0.003)


def put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def png(value: int, size: tuple[int, int] = (6, 4)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["", "gz", "xz"])
def test_archive_is_read_without_unpacking(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("a.tar" + (f".{kind}" if kind else ""))
    with tarfile.open(path, f"w:{kind}") as archive:
        put(archive, "./train/a/0.png", png(51))
        put(archive, "train/a/README.txt", b"no image")
        put(archive, "train/a/bad.png", b"no image")
        link = tarfile.TarInfo("train/a/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    assert archive_names(path) == ["train/a/0.png", "train/a/bad.png"]
    assert read_image(packed_name(path, "train/a/0.png"))[0, 0].tolist() == [np.float32(0.2), 0, 0]
    assert image_size(packed_name(path, "train/a/0.png")) == (4, 6)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    with pytest.raises(ImageReadError, match=r"bad\.png: got UnidentifiedImageError"):
        read_image(packed_name(path, "train/a/bad.png"))
    with pytest.raises(ImageReadError, match="no member of that name"):
        read_image(packed_name(path, "train/a/1.png"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (idx_bytes(IMAGES, magic=bytes((0, 0, 9, 3))), "got the magic number 00000903, expected 00000801"),
        (idx_bytes(IMAGES, magic=bytes((0, 0, 8, 2))), "got the magic number 00000802"),
        (b"\0\0\x08", "got an end 1 bytes early"),
        (idx_bytes(IMAGES)[:-1], "got 87 bytes, expected 88 for the dimensions"),
        (idx_bytes(IMAGES) + b"x", "got 89 bytes, expected 88"),
        (idx_bytes(IMAGES, shape=(2**31, 2**31, 2**31)), "got the dimensions"),
        (idx_bytes(IMAGES, shape=(0, 4, 6)), "expected at least 1 each"),
    ],
)
def test_damaged_idx_is_named(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match=text) as raised:
        read_idx(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (gzip.compress(idx_bytes(IMAGES))[:-12], "expected a complete file"),
        (gzip.compress(idx_bytes(IMAGES)[:-5]), "got an end 5 bytes early"),
        (gzip.compress(idx_bytes(IMAGES) + b"x"), "bytes after the last value"),
        (b"not gzip at all", "got BadGzipFile"),
    ],
)
def test_damaged_gzip_is_named(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match=text):
        read_idx(path)


def test_a_header_that_lies_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES, shape=(2**20, 30, 30))))  # says 900 MiB, holds 72 bytes
    tracemalloc.start()
    with pytest.raises(ImageReadError, match="early"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_other_damage(tmp_path: Path, idx: Path) -> None:
    with pytest.raises(ImageReadError, match="no such file"):
        read_image(packed_name(tmp_path / "absent-ubyte", 0))
    with pytest.raises(ImageReadError, match="expected an image 3"):
        read_image(packed_name(idx, 3))
    with pytest.raises(ImageReadError, match="4 x 6 pixels, expected at most 20"):
        packed_image(packed_name(idx, 0), max_pixels=20)
    batch = tmp_path / "test_batch.bin"
    for content, text in ((b"x" * 3072, "got 3072 bytes"), (b"", "got 0 bytes"), (b"\x0a" * 3073, "the label 10")):
        batch.write_bytes(content)
        with pytest.raises(ImageReadError, match=text):
            read_cifar_batch(batch)
    archive = tmp_path / "a.tar.xz"
    for content in (b"no archive", b""):
        archive.write_bytes(content)
        with pytest.raises(ImageReadError, match="expected a complete tar archive"):
            archive_names(archive)
    with pytest.raises(ImageReadError, match="no such file"):
        archive_names(tmp_path / "absent.tar")
    large = tmp_path / "large.tar"
    with tarfile.open(large, "w") as written:
        put(written, "train/a/0.png", b"x" * (2**22 + 1))
    with pytest.raises(ImageReadError, match="4194304 at most"):
        archive_names(large)


def test_paths_of_their_own_are_left_alone(tmp_path: Path) -> None:
    for name in ("photo#image=3.png", "a.tar/photo.png", "frame.avi#frame=3"):
        assert packed_image(tmp_path / name, max_pixels=100) is None
