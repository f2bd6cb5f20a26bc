"""The PACS command against a real one: both protocols, killed and resumed, nothing twice and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pacs_fakes
import pytest
from dicom_files import dicom_image, photograph
from orthanc import Orthanc, orthanc
from pacs_fakes import encoded, work
from pydicom import Dataset

from monai_cavga.clinical.pacs.archive import Query
from monai_cavga.clinical.pacs.options import Connection
from monai_cavga.clinical.pacs.run import run_pacs

STUDIES = 50
DAYS = "20250301-20250331"
ENCODINGS = ("raw", "rle", "jpeg2000", "jpeg")


def dimse(server: Orthanc, **more: object) -> Connection:
    return Connection(aet="ORTHANC", host="localhost", port=server.dicom, **more)  # type: ignore[arg-type]


def fill(server: Orthanc, count: int) -> list[Dataset]:
    """Photographs of as many studies, all different, in all encodings."""
    images = []
    for number in range(count):
        pixels = photograph()
        pixels[5 : 6 + number % 30, 30:40, 1] = number
        encoding = ENCODINGS[number % len(ENCODINGS)]
        images.append(dicom_image("OP8", pixels=pixels, study=str(number), encoding=encoding))  # type: ignore[arg-type]
        server.put(encoded(images[-1]))
    return images


def check_complete(server: Orthanc, images: list[Dataset]) -> None:
    """Every study has its image, one segmentation and one report, and the segmentation's pixels are the map's."""
    found: dict[str, list[Dataset]] = {}
    for each in server.objects():
        found.setdefault(each.StudyInstanceUID, []).append(each)
    assert len(found) == len(images)
    for image in images:
        objects = {each.Modality: each for each in found[image.StudyInstanceUID]}
        assert Counter(each.Modality for each in found[image.StudyInstanceUID]) == {"OP": 1, "SEG": 1, "SR": 1}
        assert objects["OP"].PixelData == image.PixelData
        pixels = image.pixel_array.astype(np.float32) / 255
        wanted = pixels[..., 1] * (pixels[..., 0] > 0.1)
        np.testing.assert_allclose(objects["SEG"].pixel_array / 255, wanted, atol=1 / 255)
        assert objects["SR"].CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID == image.StudyInstanceUID


def killed_half_way(server: Orthanc, where: str, state: Path) -> int:
    """Start a run in a process, kill it when half of the objects are there, and count them."""
    code = Path(pacs_fakes.__file__)
    folders = os.pathsep.join([str(code.parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, str(code), where, str(state), DAYS],
        env=os.environ | {"PYTHONPATH": folders},
        stdout=subprocess.DEVNULL,
    )
    before = server.count()
    deadline = time.monotonic() + 300
    while server.count() < before + STUDIES and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it was still at work
    return server.count() - before


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["dicomweb", "dimse"])
def test_killed_half_way_and_run_again_every_study_has_one_of_each(tmp_path: Path, protocol: str) -> None:
    with orthanc(tmp_path / "pacs") as server:
        images = fill(server, STUDIES)
        web, classic = Connection(url=server.url), dimse(server)
        first, second = (web, classic) if protocol == "dicomweb" else (classic, web)
        where = server.url if protocol == "dicomweb" else str(server.dicom)
        done = killed_half_way(server, where, tmp_path / "state")
        assert STUDIES <= done < 2 * STUDIES
        lines: list[str] = []
        query = Query(dates=DAYS)
        assert run_pacs(first, query, work=work(), state=tmp_path / "state", say=lines.append) == 0
        check_complete(server, images)
        # the journal spared the finished ones, and the archive was asked about the others
        kept = sum("(1 done before)" in line for line in lines)
        assert done // 2 - 1 <= kept <= done // 2
        sent = sum(int(line.split(" objects sent")[0].split()[-1]) for line in lines if "objects sent" in line)
        assert done + sent == 2 * STUDIES
        # another protocol, no journal: everything is found there and nothing is sent
        lines.clear()
        assert run_pacs(second, Query(dates=DAYS, limit=5), work=work(), state=tmp_path / "new", say=lines.append) == 0
        assert sum("0 objects sent, 2 found there" in line for line in lines) == 5
        assert server.count() == 3 * STUDIES
