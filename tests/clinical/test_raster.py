"""Pictures and NIfTI of a localisation: values, geometry, bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import MODEL
from PIL import Image

from monai_cavga.clinical.records import Localisation, Source
from monai_cavga.clinical.write.page import shown_map, write_pieces
from monai_cavga.clinical.write.raster import fit_size, overlay_picture, write_map, write_nifti, write_overlay
from monai_cavga.handlers.colour import OUTLINE
from monai_cavga.handlers.files import NOTICE


@pytest.fixture
def found() -> Localisation:
    """40 x 60, asymmetric: a ramp to the right, a bright spot at the upper left, the lowest rows outside the field."""
    values = np.tile(np.linspace(0.1, 0.4, 60, dtype=np.float32), (40, 1))
    values[5:10, 8:20] = 0.9
    fov = np.ones((40, 60), bool)
    fov[30:] = False
    pixels = np.full((40, 60, 3), (0.6, 0.3, 0.1), np.float32)
    return Localisation(
        source=Source(path=Path("eye.png"), pixels=pixels, sha256="ab" * 32),
        model=MODEL,
        map=np.where(fov, values, np.float32(0)),
        fov=fov,
        score=0.9,
        percentile=95.0,
    )


def test_the_map_png_holds_the_values(found, tmp_path):
    with Image.open(write_map(found, tmp_path / "a.png")) as picture:
        values = np.asarray(picture) / 65535
        assert picture.text["notice"] == NOTICE
    assert values == pytest.approx(found.map, abs=1 / 65535)


def test_the_nifti_map_lies_as_the_source(found, tmp_path):
    affine = np.diag([0.1, 0.2, 1.0, 1.0])
    placed = replace(found, source=replace(found.source, affine=affine))
    for each, expected in ((found, np.eye(4)), (placed, affine)):
        image = nibabel.load(write_nifti(each, tmp_path / "a.nii.gz"))
        assert image.shape == (60, 40, 1)
        assert (found.map == np.asarray(image.dataobj)[..., 0].T).all()
        assert image.affine == pytest.approx(expected)
        assert image.header["descrip"].item().decode() == NOTICE[:79]


def test_the_overlay_marks_what_is_above_the_threshold(found, tmp_path):
    picture = overlay_picture(found, side=1024)
    assert picture.shape == (40, 60, 3)
    assert (picture[4, 10] == OUTLINE).all()  # just above the spot
    assert (picture[25, 5] == [153, 76, 26]).all()  # below the threshold the photograph is as it was
    assert (picture[7, 12] != [153, 76, 26]).any()
    with Image.open(write_overlay(found, tmp_path / "a.png")) as written:
        assert (np.asarray(written) == picture).all()
        assert written.text["notice"] == NOTICE


def test_pictures_are_shrunk_never_enlarged():
    assert fit_size((3000, 4000, 3), 1024) == (768, 1024)
    assert fit_size((30, 40), 1024) == (30, 40)
    assert fit_size((1, 5000), 100) == (1, 100)


def test_the_pages_pieces(found, tmp_path):
    names = write_pieces(found, tmp_path, "eye-1")
    assert names == {"page_photo": "page/eye-1.jpg", "page_map": "page/eye-1.png"}
    grey = np.asarray(Image.open(tmp_path / names["page_map"]))
    assert (grey[30:] == 0).all()
    assert ((grey[:30].astype(int) - 1) / 254) == pytest.approx(found.map[:30], abs=0.5 / 254 + 1e-6)
    assert np.asarray(Image.open(tmp_path / names["page_photo"])).shape == (40, 60, 3)
    assert shown_map(found, (20, 30)).shape == (20, 30)


def test_the_same_localisation_gives_the_same_bytes(found, tmp_path):
    for write, ending in ((write_map, "png"), (write_overlay, "png"), (write_nifti, "nii.gz")):
        first = write(found, tmp_path / f"a.{ending}").read_bytes()
        assert write(found, tmp_path / f"b.{ending}").read_bytes() == first
