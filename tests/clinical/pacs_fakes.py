"""A localiser without a network, for the tests of the transport, and the process that they kill."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from dicom_files import MODEL
from pydicom import dcmread

from monai_cavga.clinical.pacs.archive import Localised, Query
from monai_cavga.clinical.pacs.options import Connection
from monai_cavga.clinical.pacs.retry import Retry
from monai_cavga.clinical.pacs.run import run_pacs
from monai_cavga.clinical.pacs.study import Work
from monai_cavga.clinical.records import Localisation, Source
from monai_cavga.clinical.write.seg import write_seg
from monai_cavga.clinical.write.sr import write_sr


def localise(paths: list[Path], output: Path) -> list[Localised]:
    """The green channel as the map, written as a segmentation and a report; other things than photographs refused."""
    answers = []
    for path in paths:
        image = dcmread(path)
        if image.Modality != "OP":
            answers.append(Localised(path=path, problem="not a photograph"))
            continue
        pixels = image.pixel_array.astype(np.float32) / 255
        fov = pixels[..., 0] > 0.1
        found = Localisation(
            source=Source(path=path, pixels=pixels, sha256="2c" * 32, header=image, laterality="R"),
            model=MODEL,
            map=pixels[..., 1] * fov,
            fov=fov,
            score=float(pixels[..., 1].max()),
            percentile=50.0,
        )
        files = (output / f"{path.stem}_seg.dcm", output / f"{path.stem}_sr.dcm")
        segmentation = write_seg(found, files[0], kind="FRACTIONAL")
        write_sr(found, files[1], segmentation=segmentation)
        answers.append(Localised(path=path, objects=files))
    return answers


def slowly(paths: list[Path], output: Path) -> list[Localised]:
    """`localise`, taking its time, so that a test can kill it."""
    time.sleep(0.03)
    return localise(paths, output)


def work(**more: object) -> Work:
    """What the tests do to every study: `localise`, two further tries, no waiting to speak of."""
    options: dict[str, object] = {"localise": localise, "recipe": "fake", "retry": Retry(times=2, wait=0.01)}
    return Work(**options | more)  # type: ignore[arg-type]


if __name__ == "__main__":
    where, folder, days = sys.argv[1:]
    way = Connection(url=where) if "/" in where else Connection(aet="ORTHANC", host="localhost", port=int(where))
    sys.exit(run_pacs(way, Query(dates=days), work=work(localise=slowly), state=Path(folder), say=print))
