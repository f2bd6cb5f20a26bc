"""A localiser without a network and an archive without a server, and the process that a test kills."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from dicom_files import MODEL
from pydicom import Dataset, dcmread

from monai_cavga.clinical.pacs.archive import Localised, ObjectRef, Query, TransferError
from monai_cavga.clinical.pacs.content import opened
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
        if "PixelData" not in image:
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


def fails_on_study_1(paths: list[Path], output: Path) -> list[Localised]:
    """`localise`, raising an error for that study."""
    if dcmread(paths[0]).StudyID == "1":
        raise ZeroDivisionError
    return localise(paths, output)


def encoded(dataset: Dataset) -> bytes:
    """A data set as a file's bytes."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class Memory:
    """An archive, and the connection to it; ``fault`` is called before each operation with its name, and may raise."""

    address = "memory"

    def __init__(self, *images: Dataset) -> None:
        self.files = {image.SOPInstanceUID: encoded(image) for image in images}
        self.calls: list[str] = []
        self.fault: Callable[[str], None] = lambda operation: None

    def open(self) -> Memory:
        return self

    def studies(self, query: Query) -> list[str]:
        self._called("studies")
        return list(dict.fromkeys(each.StudyInstanceUID for each in self.datasets()))

    def images(self, study: str, *, modalities: Iterable[str]) -> list[ObjectRef]:
        self._called("images")
        found = [each for each in self.datasets() if each.StudyInstanceUID == study and each.Modality in modalities]
        return [ObjectRef.of(each) for each in found]

    def holds(self, ref: ObjectRef) -> bool:
        self._called("holds")
        return ref.instance in self.files

    def retrieve(self, ref: ObjectRef) -> Dataset:
        self._called("retrieve")
        if ref.instance not in self.files:
            raise TransferError("not there", transient=True)
        return opened(self.files[ref.instance])

    def store(self, dataset: Dataset) -> None:
        self._called("store")
        self.files.setdefault(dataset.SOPInstanceUID, encoded(dataset))

    def datasets(self) -> list[Dataset]:
        return [opened(content) for content in self.files.values()]

    def modalities(self) -> list[str]:
        """Of all that it holds, sorted."""
        return sorted(each.Modality for each in self.datasets())

    def _called(self, operation: str) -> None:
        self.calls.append(operation)
        self.fault(operation)


def times(count: int, *operations: str, transient: bool = True) -> Callable[[str], None]:
    """A fault of these operations, the first ``count`` times of each."""
    left = dict.fromkeys(operations, count)

    def fault(operation: str) -> None:
        if left.get(operation, 0):
            left[operation] -= 1
            raise TransferError(f"{operation} broke", transient=transient)

    return fault


def patient_data(*images: Dataset) -> set[str]:
    """What must stand in no line and no file of ours: names, numbers and UIDs of a patient."""
    keywords = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    words = {str(image[keyword].value) for image in images for keyword in keywords}
    return words | {part for image in images for part in str(image.PatientName).split("^")}


def work(**more: object) -> Work:
    """What the tests do to every study: `localise`, two further tries, no waiting to speak of."""
    options: dict[str, object] = {"localise": localise, "recipe": "fake", "retry": Retry(times=2, wait=0.01)}
    return Work(**options | more)  # type: ignore[arg-type]


if __name__ == "__main__":
    where, folder, days = sys.argv[1:]
    way = Connection(url=where) if "/" in where else Connection(aet="ORTHANC", host="localhost", port=int(where))
    sys.exit(run_pacs(way, Query(dates=days), work=work(localise=slowly), state=Path(folder), say=print))
