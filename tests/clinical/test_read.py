"""Reading untrusted files: values and geometry of every kind, and a one-line refusal of everything else."""

from __future__ import annotations

import io
import os
import signal
import struct
import time
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import CASES, dicom_image, photograph
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

from monai_cavga.clinical.codestream import FrameSize, jpeg2000_size, jpeg_size
from monai_cavga.clinical.read import Limits, Reader, ReaderError
from monai_cavga.clinical.refusal import RefusedError
from monai_cavga.data import read_image


@pytest.fixture(scope="module")
def reader():
    with Reader() as one:
        yield one


def save(dataset: pydicom.Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def refusal(reader: Reader, path: Path) -> str:
    with pytest.raises(RefusedError) as raised:
        reader.read(path)
    text = str(raised.value)
    assert "\n" not in text
    assert str(path) not in text
    return text


@pytest.mark.parametrize(("kind", "encoding"), CASES)
def test_dicom_photographs_of_every_class_and_encoding(reader, tmp_path, kind, encoding):
    source = reader.read(save(dicom_image(kind, encoding=encoding), tmp_path / "eye"))
    expected = photograph().astype(np.float32) / 255
    assert source.pixels.shape == (48, 72, 3)
    assert source.pixels.dtype == np.float32
    if kind == "OP16":
        assert (source.pixels == source.pixels[..., :1]).all()
        assert np.corrcoef(source.pixels[..., 0].ravel(), expected.mean(axis=2).ravel())[0, 1] > 0.95
    else:
        assert abs(source.pixels - expected).mean() <= (0.02 if encoding == "jpeg" else 1e-6)
    assert source.laterality == "R"
    assert source.header is not None
    assert "PixelData" not in source.header
    assert source.header.PatientName == "Müller^Jürgen"


def test_jpeg_ls_is_read(reader, tmp_path):
    pytest.importorskip("jpeg_ls", reason="JPEG-LS needs pyjpegls")
    dataset = dicom_image("OP8")
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    assert (reader.read(save(dataset, tmp_path / "a")).pixels == photograph().astype(np.float32) / 255).all()


def test_monochrome1_is_inverted_and_bits_stored_count(reader, tmp_path):
    values = np.arange(48 * 72, dtype=np.uint16).reshape(48, 72)
    dataset = dicom_image("OP16", pixels=values)
    dataset.BitsStored, dataset.HighBit = 12, 11
    one = reader.read(save(dataset, tmp_path / "a")).pixels[..., 1]
    dataset.PhotometricInterpretation = "MONOCHROME1"
    other = reader.read(save(dataset, tmp_path / "b")).pixels[..., 1]
    assert one == pytest.approx(values / 4095)
    assert other == pytest.approx(1 - values / 4095, abs=1e-6)


@pytest.mark.parametrize(("image", "series", "side"), [("L", "R", "L"), ("", "L", "L"), ("B", "L", ""), ("", "", "")])
def test_laterality_is_the_images_then_the_series(reader, tmp_path, image, series, side):
    dataset = dicom_image("SC", laterality="")
    dataset.ImageLaterality, dataset.Laterality = image, series
    assert reader.read(save(dataset, tmp_path / "a")).laterality == side


def test_pictures_are_read_as_everywhere_else(reader, tmp_path):
    Image.fromarray(photograph()).save(tmp_path / "a.jpg", exif=_turned(6))
    Image.fromarray((np.arange(600, dtype=np.uint16) * 100).reshape(20, 30)).save(tmp_path / "b.tiff")
    for name, shape in (("a.jpg", (72, 48, 3)), ("b.tiff", (20, 30, 3))):
        source = reader.read(tmp_path / name)
        assert source.pixels.shape == shape
        assert (source.pixels == read_image(tmp_path / name)).all()
        assert (source.header, source.affine, source.laterality) == (None, None, "")


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("values", "top_right"),
    [
        (np.uint8([[0, 10], [20, 30], [40, 255]]), 1 / 255 * 40),
        (np.uint16([[0, 10], [20, 30], [65535, 5]])[..., None], 1.0),
        (np.float32([[0, 0.1], [0.2, 0.3], [0.5, 1]])[..., None, None], 0.5),
    ],
)
def test_nifti_slices_lie_as_displayed(reader, tmp_path, values, top_right):
    """X counts columns, Y rows: value [2, 0] of (3, 2) is at the top right of 2 rows and 3 columns."""
    affine = np.diag([0.1, 0.2, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii.gz")
    source = reader.read(tmp_path / "a.nii.gz")
    assert source.pixels.shape == (2, 3, 3)
    assert source.pixels[0, 2] == pytest.approx([top_right] * 3)
    assert source.affine == pytest.approx(affine)


def test_nifti_slices_of_colours(reader, tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (5, 4, 1, 3), np.uint8)
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "a.nii")
    packed = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(nibabel.Nifti1Image(packed, np.eye(4)), tmp_path / "b.nii")
    for name in ("a.nii", "b.nii"):
        assert (reader.read(tmp_path / name).pixels == colours[:, :, 0].transpose(1, 0, 2) / np.float32(255)).all()


@pytest.mark.parametrize(
    ("values", "affine", "text"),
    [
        (np.zeros((4, 5, 2), np.uint8), np.eye(4), "shape (4, 5, 2), expected one slice"),
        (np.zeros((4, 5), np.int16), np.eye(4), "values of the type int16, expected unsigned"),
        (np.full((4, 5), 1.5, np.float32), np.eye(4), "values outside [0, 1] or not finite"),
        (np.full((4, 5), np.nan, np.float32), np.eye(4), "values outside [0, 1] or not finite"),
        (np.zeros((4, 5), np.uint8), np.full((4, 4), np.nan), "an affine that is not finite"),
    ],
)
def test_other_nifti_images_are_refused(reader, tmp_path, values, affine, text):
    image = nibabel.Nifti1Image(values, np.eye(4))
    if np.isnan(affine).any():
        image.header["sform_code"] = 1
        image.header["srow_x"] = np.nan
        content = bytearray(image.to_bytes())
        struct.pack_into("<h", content, 254, 1)
        struct.pack_into("<4f", content, 280, *[np.nan] * 4)
        (tmp_path / "a.nii").write_bytes(content)
    else:
        nibabel.save(image, tmp_path / "a.nii")
    assert text in refusal(reader, tmp_path / "a.nii")


def test_files_that_are_no_nifti_are_refused(reader, tmp_path):
    (tmp_path / "a.nii").write_bytes(b"x" * 500)
    assert refusal(reader, tmp_path / "a.nii").startswith("no NIfTI image: the file is damaged")
    nibabel.save(nibabel.MGHImage(np.zeros((4, 5, 1), np.float32), np.eye(4)), tmp_path / "b.mgz")
    (tmp_path / "b.mgz").rename(tmp_path / "b.nii.gz")
    assert refusal(reader, tmp_path / "b.nii.gz").startswith("no NIfTI image: the file is damaged")


def changed(**values: object) -> pydicom.Dataset:
    dataset = dicom_image("OP8")
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("dataset", "text"),
    [
        (changed(SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "SOP class 1.2.840.10008.5.1.4.1.1.2, expected Ophthalmic"),
        (changed(Modality="CT"), "modality CT, expected OP, XC, OT or SC"),
        (changed(Modality="a^b c"), "modality that is no code"),
        (changed(PhotometricInterpretation="PALETTE COLOR"), "photometric interpretation PALETTE COLOR, expected grey"),
        (changed(SamplesPerPixel=1), "1 samples per pixel with RGB: the header contradicts itself"),
        (changed(NumberOfFrames=3), "3 frames, expected 1: give each frame as an object of its own"),
        (changed(Rows=0), "0 x 72 pixels, expected 1 to"),
        (changed(Rows=60000, Columns=60000), "60000 x 60000 pixels, expected 1 to"),
        (changed(BitsAllocated=32, BitsStored=32), "32 of 32 bits or signed values, expected 8 or 16 bits, unsigned"),
        (changed(PixelRepresentation=1), "8 of 8 bits or signed values"),
        (changed(PixelData=bytes(100)), "the file is damaged"),
        (changed(ICCProfile=bytes(2**24 + 2)), "bytes, expected at most 16777216: remove what is embedded"),
    ],
)
def test_other_dicom_objects_are_refused(reader, tmp_path, dataset, text):
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    found = refusal(reader, save(dataset, tmp_path / "a.dcm"))
    assert text in found
    assert "Müller" not in found


def test_more_dicom_objects_that_are_refused(reader, tmp_path):
    dataset = dicom_image("OP8")
    del dataset.PixelData
    assert refusal(reader, save(dataset, tmp_path / "a")).startswith("no pixels in it")
    dataset = dicom_image("OP8")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert "transfer syntax 1.2.840.10008.1.2.1.99, expected" in refusal(reader, save(dataset, tmp_path / "b"))
    (tmp_path / "c.dcm").write_bytes((tmp_path / "b").read_bytes()[132:])
    assert refusal(reader, tmp_path / "c.dcm").startswith("no DICM prefix")
    dataset = dicom_image("OP8")
    dataset["Rows"] = pydicom.DataElement(0x00280010, "LO", "many")
    assert refusal(reader, save(dataset, tmp_path / "d")) == "Rows is no number: the file is damaged; copy it again"
    dataset = dicom_image("OP8", encoding="jpeg")
    stream = io.BytesIO()
    Image.new("L", (72, 48)).save(stream, "JPEG")
    dataset.PixelData = encapsulate([stream.getvalue()])
    assert "compressed pixels of 48 x 72 x 1 under a header of 48 x 72 x 3" in refusal(
        reader, save(dataset, tmp_path / "e")
    )


@pytest.mark.parametrize(("encoding", "name"), [("jpeg", "JPEG baseline"), ("jpeg2000", "JPEG 2000 lossless")])
def test_a_cut_compressed_stream_is_refused(reader, tmp_path, encoding, name):
    dataset = dicom_image("VL", encoding=encoding)
    stream = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([stream[: len(stream) // 4]])
    found = refusal(reader, save(dataset, tmp_path / "a"))
    assert found == f"{name} pixels cannot be decoded: the file is damaged; copy it again"


def test_bombs_are_refused_before_they_are_decoded(reader, tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (9000, 9000)).save(stream, "JPEG")
    dataset = dicom_image("OP8")
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    begin = time.monotonic()
    assert "compressed pixels of 9000 x 9000 x 3 under a header of 48 x 72 x 3" in refusal(
        reader, save(dataset, tmp_path / "a")
    )
    assert time.monotonic() - begin < 2
    Image.new("L", (10000, 9000)).save(tmp_path / "b.png")
    assert "an oversized image (9000 x 10000 pixels)" in refusal(reader, tmp_path / "b.png")
    shape = (30000, 30000)
    image = nibabel.Nifti1Image(np.broadcast_to(np.uint8(0), shape), np.eye(4))
    (tmp_path / "c.nii").write_bytes(image.header.binaryblock + bytes(4))
    assert "900000000 pixels, expected at most" in refusal(reader, tmp_path / "c.nii")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_truncated_and_foreign_pictures_are_refused(reader, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photograph()).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(reader, path).startswith("got ")
    path.write_bytes(b"<html>no picture</html>")
    assert "UnidentifiedImageError" in refusal(reader, path)


def test_several_pages_are_refused(reader, tmp_path):
    pages = [Image.new("L", (40, 30), n) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert refusal(reader, tmp_path / "a.tif") == "3 pages or frames, expected 1: save the one that is meant"


def test_what_is_no_file_is_refused(reader, tmp_path):
    assert refusal(reader, tmp_path / "absent.png") == "cannot be opened: No such file or directory"
    assert refusal(reader, tmp_path) == "not a regular file, expected an image"
    (tmp_path / "empty.png").touch()
    assert refusal(reader, tmp_path / "empty.png").startswith("0 bytes, expected 1 to")
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal(reader, tmp_path / "pipe.png") == "not a regular file, expected an image"


def good(tmp_path: Path) -> Path:
    Image.fromarray(photograph()).save(tmp_path / "good.png")
    return tmp_path / "good.png"


def test_a_worker_that_dies_or_hangs_costs_one_file(tmp_path):
    path = good(tmp_path)
    with Reader(Limits(seconds=20)) as one:
        one.read(path)
        os.kill(one._process.pid, signal.SIGKILL)
        with pytest.raises(RefusedError, match="the decoder died of it"):
            one.read(path)
        assert one.read(path).pixels.shape == (48, 72, 3)
        one.limits = Limits(seconds=0.5)
        os.kill(one._process.pid, signal.SIGSTOP)
        with pytest.raises(RefusedError, match=r"took more than 0\.5 s to decode"):
            one.read(path)
        assert one._process is None


def test_memory_is_limited(tmp_path):
    Image.new("RGB", (8000, 8000)).save(tmp_path / "large.png")
    with Reader(Limits(memory=700 * 2**20)) as one:
        with pytest.raises(RefusedError, match=r"memory|MemoryError"):
            one.read(tmp_path / "large.png")
        assert one.read(good(tmp_path)).pixels.shape == (48, 72, 3)


def test_a_worker_that_cannot_start_is_no_fault_of_a_file(tmp_path):
    with Reader(Limits(memory=10 * 2**20)) as one, pytest.raises(ReaderError, match="does not start"):
        one.read(good(tmp_path))


def test_the_worker_sees_no_credentials_and_writes_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PACS_PASSWORD", "secret")
    with Reader() as one:
        one.read(good(tmp_path))
        process = Path(f"/proc/{one._process.pid}")
        assert b"secret" not in (process / "environ").read_bytes()
        limits = (process / "limits").read_text()
    assert "Max file size             0 " in limits


class Liar:
    """An answer that no worker of ours gives."""

    def __init__(self, content: bytes) -> None:
        self.read_end, write_end = os.pipe()
        os.write(write_end, content)
        os.close(write_end)
        self.stdout = os.fdopen(self.read_end, "rb", buffering=0)
        self.stdin = io.BytesIO()

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> None:
        self.returncode = -9


@pytest.mark.parametrize(
    "content",
    [
        struct.pack(">Q", 2**40),
        struct.pack(">Q", 2) + b"{]",
        struct.pack(">Q", 2) + b"{}",
        struct.pack(">Q", 28) + b'{"shape": [99999, 99999, 3]}',
        b"\0\0",
    ],
)
def test_an_impossible_answer_is_a_dead_worker(tmp_path, content):
    one = Reader()
    one._process = Liar(content)
    with pytest.raises(RefusedError, match="the decoder died of it"):
        one.read(good(tmp_path))


def test_a_header_that_the_parent_cannot_parse_is_refused(tmp_path):
    text = b'{"shape": [1, 1, 3], "laterality": "", "affine": null, "header_bytes": 4}'
    one = Reader()
    one._process = Liar(struct.pack(">Q", len(text)) + text + bytes(12) + b"junk")
    with pytest.raises(RefusedError, match="in its header: the file is damaged"):
        one.read(good(tmp_path))


def test_a_headers_text_stays_out_of_warnings(tmp_path, recwarn):
    dataset = dicom_image("OP8")
    dataset.SpecificCharacterSet = "SECRET_CHARSET"
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    recwarn.clear()
    with Reader() as own:
        own.read(path)
    assert not [str(each.message) for each in recwarn if "SECRET" in str(each.message)]


def test_sizes_of_streams():
    stream = io.BytesIO()
    Image.new("RGB", (31, 17)).save(stream, "JPEG")
    assert jpeg_size(stream.getvalue()) == FrameSize(17, 31, 3, 8)
    assert jpeg_size(b"\xff\xd8\xff\xff\x01\xff\xc0\x00\x0b\x08\x00\x05\x00\x07\x01") == FrameSize(5, 7, 1, 8)
    dataset = dicom_image("OP8")
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    assert jpeg2000_size(pydicom.encaps.get_frame(dataset.PixelData, 0)) == FrameSize(48, 72, 3, 8)
    with pytest.raises(RefusedError, match="no JPEG stream"):
        jpeg_size(b"PNG")
    with pytest.raises(RefusedError, match="state no size"):
        jpeg_size(stream.getvalue()[:20])
    with pytest.raises(RefusedError, match="no JPEG 2000 codestream"):
        jpeg2000_size(stream.getvalue())


def test_pydicoms_own_files_of_other_kinds_are_one_line_each(reader):
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    paths = sorted(folder.glob("*.dcm"))
    assert len(paths) > 50
    outcomes = []
    for path in paths:
        try:
            outcomes.append(str(reader.read(path).pixels.shape[2]))
        except RefusedError as err:
            outcomes.append(str(err))
    assert outcomes.count("3") > 10
    assert all("\n" not in each for each in outcomes)
