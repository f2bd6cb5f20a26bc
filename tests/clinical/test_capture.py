"""Secondary captures of localisations: the picture, the burnt-in text, how it is stored."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dicom_files import CLASSES, MODEL, NAME, dicom_image, faults, localisation, photograph
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from monai_cavga.clinical.write.capture import (
    LOSSLESS_PIXELS,
    OPACITY,
    capture_picture,
    capture_text,
    write_capture,
)
from monai_cavga.clinical.write.reference import ObjectError
from monai_cavga.clinical.write.uids import object_uid
from monai_cavga.handlers.colour import OUTLINE, blend, contour, map_layer
from monai_cavga.handlers.files import NOTICE


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A localisation of more pixels than are stored without loss, of a JPEG."""
    pixels = photograph(800, 1300)
    path = tmp_path_factory.mktemp("large") / "source.dcm"
    found = localisation(path, dicom_image("OP8", pixels=pixels, encoding="jpeg"))
    source = dataclasses.replace(found.source, pixels=(pixels / 255).astype(np.float32))
    return dataclasses.replace(found, source=source)


@pytest.mark.parametrize("encoding", ["raw", "jpeg", "jpeg2000", "rle"])
def test_nothing_is_wrong_with_captures(encoding, tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image("OP8", encoding=encoding))
    write_capture(found, tmp_path / "capture.dcm")
    assert faults(tmp_path / "capture.dcm") == []


def test_the_photograph_under_its_map(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    picture = capture_picture(found)
    height, width = found.map.shape
    photo = np.round(found.source.pixels * 255).astype(np.uint8)
    ring = contour(found.mask)
    shown = picture[:height, :width]

    assert ring.any()
    assert (shown[ring] == OUTLINE).all()
    under = blend(photo, map_layer(found.map, low=0, high=1), OPACITY)
    np.testing.assert_array_equal(shown[~ring], under[~ring])
    np.testing.assert_array_equal(shown[~found.fov & ~ring], photo[~found.fov & ~ring])
    assert not picture[:height, width:].any()
    strip = picture[height:]
    assert strip.max() == 255  # letters
    assert not strip[:, 0].any()
    assert not strip[0].any()
    assert not strip[-1].any()  # the last line is not cut off


def test_the_outline_is_thicker_on_large_pictures(large):
    shown = (capture_picture(large)[: large.map.shape[0]] == OUTLINE).all(axis=-1)
    assert shown.sum() > 1.5 * contour(large.mask).sum()
    assert not (shown & large.mask).any()


def test_the_text(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image(laterality="L"))
    notice, numbers, made_by = capture_text(found)
    assert notice == NOTICE
    assert numbers == (
        f"left eye; score {found.score:.3f}; percentile {found.percentile:.1f} among {MODEL.normals} normals; "
        f"{100 * found.area:.2f} % of the field of view above {found.threshold:.3f} (outlined)"
    )
    assert MODEL.name in made_by
    assert MODEL.version in made_by

    unknown = dataclasses.replace(found, percentile=float("nan"))
    assert "percentile" not in capture_text(unknown)[1]
    height = found.map.shape[0]
    assert capture_picture(unknown)[height:].sum() != capture_picture(found)[height:].sum()
    np.testing.assert_array_equal(capture_picture(unknown)[:height], capture_picture(found)[:height])

    unstated = dataclasses.replace(found, source=dataclasses.replace(found.source, laterality=""))
    assert capture_text(unstated)[1].startswith("eye not stated; ")


def test_a_name_without_spaces_does_not_stop_it(tmp_path):
    model = dataclasses.replace(MODEL, name="n" * 300)
    found = localisation(tmp_path / "source.dcm", dicom_image(), model=model)
    write_capture(found, tmp_path / "capture.dcm")
    assert faults(tmp_path / "capture.dcm") == []
    assert capture_picture(found).shape[1] == 240


def test_small_pictures_are_stored_without_loss(tmp_path):
    image = dicom_image("OP8")
    found = localisation(tmp_path / "source.dcm", image)
    write_capture(found, tmp_path / "capture.dcm")
    capture = dcmread(tmp_path / "capture.dcm")
    np.testing.assert_array_equal(capture.pixel_array, capture_picture(found))
    assert capture.file_meta.TransferSyntaxUID == RLELossless
    assert capture.LossyImageCompression == "00"
    assert "LossyImageCompressionMethod" not in capture


def test_large_pictures_are_jpeg_and_say_so(large, tmp_path):
    write_capture(large, tmp_path / "capture.dcm")
    capture = dcmread(tmp_path / "capture.dcm")
    picture = capture_picture(large)
    assert picture.shape[0] * picture.shape[1] > LOSSLESS_PIXELS
    assert capture.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert faults(tmp_path / "capture.dcm") == []
    assert np.abs(capture.pixel_array.astype(int) - picture).mean() < 2
    before = large.source.header.LossyImageCompressionRatio
    first, second = capture.LossyImageCompressionRatio  # of the source, then of the capture
    assert first == before
    assert second == pytest.approx(picture.nbytes / len(capture.PixelData), abs=0.01)
    assert list(capture.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_10918_1"]


def test_losses_of_a_source_that_was_compressed_twice(tmp_path):
    image = dicom_image("OP8", encoding="jpeg")
    image.LossyImageCompressionRatio = [10, 20]
    image.LossyImageCompressionMethod = ["ISO_15444_1", "ISO_10918_1"]
    found = localisation(tmp_path / "source.dcm", image)
    capture = write_capture(found, tmp_path / "capture.dcm")  # without loss of its own
    assert list(capture.LossyImageCompressionRatio) == [10, 20]
    assert list(capture.LossyImageCompressionMethod) == ["ISO_15444_1", "ISO_10918_1"]
    assert capture.LossyImageCompression == "01"


@pytest.mark.parametrize("laterality", ["R", "L", ""])
@pytest.mark.parametrize("kind", ["OP8", "OP16", "VL", "SC"])
def test_what_the_header_says(kind, laterality, tmp_path):
    image = dicom_image(kind, laterality=laterality)
    found = localisation(tmp_path / "source.dcm", image)
    write_capture(found, tmp_path / "capture.dcm")
    assert faults(tmp_path / "capture.dcm") == []
    capture = dcmread(tmp_path / "capture.dcm")
    assert (capture.BurnedInAnnotation, list(capture.ImageType)) == ("YES", ["DERIVED", "SECONDARY"])
    assert (capture.Laterality or "") == laterality
    assert capture.ImageComments == NOTICE
    assert (str(capture.PatientName), capture.PatientID) == (NAME, image.PatientID)
    assert capture.PatientOrientation == image.PatientOrientation
    (source,) = capture.SourceImageSequence
    assert source.ReferencedSOPClassUID == CLASSES[kind]
    assert source.ReferencedSOPInstanceUID == image.SOPInstanceUID


def test_two_runs_give_the_same_bytes(large, tmp_path):
    small = localisation(tmp_path / "source.dcm", dicom_image())
    for found in (small, large):
        first = write_capture(found, tmp_path / "first.dcm")
        write_capture(found, tmp_path / "second.dcm")
        assert (tmp_path / "first.dcm").read_bytes() == (tmp_path / "second.dcm").read_bytes()
        source = found.source.header.SOPInstanceUID
        assert first.SOPInstanceUID == object_uid(source, MODEL, threshold=found.threshold, kind="CAPTURE")


def test_a_source_without_header_is_refused(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    found = dataclasses.replace(found, source=dataclasses.replace(found.source, header=None))
    with pytest.raises(ObjectError, match="has no DICOM header"):
        write_capture(found, tmp_path / "capture.dcm")
