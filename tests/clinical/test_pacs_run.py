"""Studies and runs against an archive in memory: every fault is listed, nothing is lost, the next run completes."""

from __future__ import annotations

import fcntl
import logging

import pytest
from dicom_files import dicom_image, photograph
from pacs_fakes import Memory, encoded, localise, patient_data, times, work
from pydicom.encaps import encapsulate

from monai_cavga.clinical.model import ModelError
from monai_cavga.clinical.pacs.archive import Localised, Query, TransferError, short_hash
from monai_cavga.clinical.pacs.content import opened
from monai_cavga.clinical.pacs.journal import Journal
from monai_cavga.clinical.pacs.run import run_pacs
from monai_cavga.clinical.pacs.study import process_study
from monai_cavga.clinical.read import ReaderError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

DAY = Query(dates="20250317")
COMPLETE = ["OP", "OP", "SEG", "SEG", "SR", "SR"]


def images(count=2):
    return [dicom_image(study=str(number)) for number in range(count)]


def run(archive, state, *, query=DAY, **changed):
    """The exit code and the lines."""
    lines: list[str] = []
    code = run_pacs(archive, query, work=work(**changed), state=state, say=lines.append)
    return code, lines


def failures(lines):
    return [line for line in lines if " failed: " in line or " refused: " in line]


def test_a_whole_run_and_nothing_twice(tmp_path):
    archive = Memory(*images())
    assert run(archive, tmp_path) == (
        0,
        [
            *(f"[{n + 1}/2] study {short_hash(i.StudyInstanceUID)}: 1 images (0 done before), 2 objects sent, "
              "0 found there" for n, i in enumerate(images())),
            "2 studies: 2 images stored and verified, 0 failures",
        ],
    )  # fmt: skip
    assert archive.modalities() == COMPLETE
    archive.calls.clear()
    code, lines = run(archive, tmp_path)
    assert (code, lines[-1]) == (0, "2 studies: 2 images stored and verified, 0 failures")
    assert archive.calls == ["studies", "images", "images"]  # the journal knows
    code, lines = run(archive, tmp_path / "new")
    assert code == 0
    assert "0 objects sent, 2 found there" in lines[0]
    assert archive.modalities() == COMPLETE
    assert not list(tmp_path.rglob("scratch*"))


def test_another_recipe_is_done_anew(tmp_path):
    archive = Memory(*images(1))
    assert run(archive, tmp_path)[0] == 0
    archive.calls.clear()
    assert run(archive, tmp_path, recipe="another")[0] == 0
    assert "retrieve" in archive.calls


@pytest.mark.parametrize("operation", ["studies", "images", "retrieve", "holds", "store"])
def test_what_passes_within_the_tries_is_no_failure(operation, tmp_path):
    archive = Memory(*images())
    archive.fault = times(2, operation)
    code, lines = run(archive, tmp_path)
    assert (code, failures(lines)) == (0, [])
    assert archive.modalities() == COMPLETE


@pytest.mark.parametrize("operation", ["images", "retrieve", "holds", "store"])
@pytest.mark.parametrize("transient", [True, False])
def test_what_does_not_pass_is_listed_and_the_next_run_completes(operation, transient, tmp_path):
    archive = Memory(*images())
    archive.fault = times(3 if transient else 1, operation, transient=transient)
    code, lines = run(archive, tmp_path)
    assert code == 3
    (line,) = failures(lines)
    assert line.endswith(f"failed: {operation} broke" + (" (3 tries)" if transient else ""))
    assert lines[-1] == "2 studies: 1 images stored and verified, 1 failures, listed above"
    code, lines = run(archive, tmp_path)
    assert (code, failures(lines)) == (0, [])
    assert archive.modalities() == COMPLETE


def test_an_archive_that_answers_nothing_is_exit_code_1(tmp_path):
    archive = Memory(*images())
    archive.fault = times(3, "studies")
    assert run(archive, tmp_path) == (1, ["query failed: studies broke (3 tries)"])
    archive.fault = times(99, "retrieve")
    code, lines = run(archive, tmp_path)
    assert (code, len(failures(lines))) == (1, 2)
    assert run(archive, tmp_path, query=Query(dates="20250317", limit=1))[0] == 1
    archive.fault = times(0)
    assert run(archive, tmp_path)[0] == 0
    assert archive.modalities() == COMPLETE


def test_an_empty_day_is_no_failure(tmp_path):
    assert run(Memory(), tmp_path) == (0, ["0 studies: 0 images stored and verified, 0 failures"])


def test_a_named_study_without_photographs_is_one(tmp_path):
    archive = Memory(dicom_image("VL", study="5"), *images(1))
    good, other = (each.StudyInstanceUID for each in (images(1)[0], dicom_image("VL", study="5")))
    code, lines = run(archive, tmp_path, query=Query(studies=(other, good, good)))
    assert code == 3
    assert failures(lines) == [f"[1/2] study {short_hash(other)}: failed: no image of modality OP"]
    assert archive.modalities() == ["OP", "SEG", "SR", "XC"]


def test_what_is_refused_is_told_again_and_not_fetched_again(tmp_path):
    archive = Memory(*images(1))
    refuse = Localised(path=tmp_path, problem="cannot assess: too dark\nsecond line")

    def gate(paths, output):
        return [Localised(path=path, problem=refuse.problem) for path in paths]

    code, lines = run(archive, tmp_path, localise=gate)
    assert code == 1
    name = short_hash(images(1)[0].SOPInstanceUID)
    assert failures(lines)[0].endswith(f"image {name} refused: cannot assess: too dark")
    archive.calls.clear()
    assert run(archive, tmp_path)[0] == 1
    assert "retrieve" not in archive.calls


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda path, output: [], "localiser said nothing about the image"),
        (lambda path, output: [Localised(path=path, problem="busy", again=True)], "busy"),
        (lambda path, output: [Localised(path=path)], "localiser wrote nothing for the image"),
    ],
)
def test_answers_of_a_localiser(answer, said, tmp_path):
    code, lines = run(Memory(*images(1)), tmp_path, localise=lambda paths, output: answer(paths[0], output))
    assert code == 1
    assert failures(lines)[0].endswith(f": {said}")


def broken(paths, output):
    raise RuntimeError(f"cannot cope with {opened(paths[0].read_bytes()).PatientName}")


def test_a_localiser_that_fails_takes_one_study_with_it(tmp_path, monkeypatch):
    calls = []

    def sometimes(paths, output):
        calls.append(1)
        return broken(paths, output) if len(calls) == 1 else localise(paths, output)

    code, lines = run(Memory(*images()), tmp_path, localise=sometimes)
    assert code == 3
    assert failures(lines)[0].endswith("failed: localiser failed: RuntimeError")
    monkeypatch.setenv("MONAI_CAVGA_DEBUG", "1")
    with pytest.raises(RuntimeError, match="Müller"):
        run(Memory(*images()), tmp_path, localise=broken)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModelError("map 'class' is (2, 2),\n expected (3, 3)"), "map 'class' is (2, 2), expected (3, 3)"),
        (ReaderError("the decoding process does not start"), "the decoding process does not start"),
        (ModuleNotFoundError("DICOM objects need highdicom"), "DICOM objects need highdicom"),
        (ValueError("of Müller"), "ValueError"),
        (KeyError("Müller"), "KeyError"),
    ],
)
def test_our_own_errors_say_what_is_wrong_and_others_only_their_type(tmp_path, error, told):
    def failing(paths, output):
        raise error

    code, lines = run(Memory(*images()), tmp_path, localise=failing)
    assert code == 1
    assert failures(lines)[0].endswith(f"failed: localiser failed: {told}")
    assert not any("Müller" in line for line in lines)


def only(report):
    (image,) = report.images
    return image.state, image.problem


def study(archive, **changed):
    (uid,) = {each.StudyInstanceUID for each in archive.datasets()}
    return process_study(archive, uid, work=work(**changed), finished=frozenset())


def test_a_malformed_study_is_a_failure_of_its_own():
    report = process_study(Memory(), "none", work=work(), finished=frozenset())
    assert report.problem.startswith("StudyInstanceUID is missing or malformed")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("PixelData", "the image is cut short: its pixels are missing (3 tries)"),
        ("half", "the image is cut short: 5184 of 10368 bytes of its pixels came (3 tries)"),
        ("another", "PACS sent another image than was asked for (3 tries)"),
        ("Rows", "the image cannot be read (TypeError) (3 tries)"),
        ("syntax", "the image cannot be read (AttributeError) (3 tries)"),
        ("element", "the image cannot be saved (OSError)"),
    ],
)
def test_images_that_are_not_whole(change, said, monkeypatch):
    archive, image = Memory(*images(1)), images(1)[0]
    if change == "PixelData":
        del image.PixelData
    elif change == "half":
        image.PixelData = image.PixelData[: len(image.PixelData) // 2]
    elif change == "another":
        image = dicom_image(study="0", seed="2")
    elif change == "Rows":
        image.Rows = None
    elif change == "syntax":
        del image.file_meta.TransferSyntaxUID
    else:
        image["PixelRepresentation"].value = "signed"
    monkeypatch.setattr(archive, "retrieve", lambda ref: image)
    assert only(study(archive)) == ("failed", said)


class Forgetful(Memory):
    """What is stored comes back changed."""

    def __init__(self, *images, change):
        super().__init__(*images)
        self.change = change

    def retrieve(self, ref):
        found = super().retrieve(ref)
        return self.change(found) if found.Modality == "SEG" else found


def with_other_pixels(dataset):
    dataset.decompress(generate_instance_uid=False)
    dataset.PixelData = bytes(len(dataset.PixelData))
    return dataset


def unreadable(dataset):
    dataset.PixelData = encapsulate([b"no RLE"])
    return dataset


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: dicom_image(), "PACS sent another object than was asked for (3 tries)"),
        (with_other_pixels, "% of the pixels differ (3 tries)"),
        (unreadable, "it cannot be read (RuntimeError) (3 tries)"),
    ],
)
def test_what_is_stored_is_read_back_and_compared(change, said):
    state, problem = only(study(Forgetful(*images(1), change=change)))
    assert state == "failed"
    assert problem.endswith(said)


def test_another_object_under_our_uid_is_left_alone(tmp_path):
    archive = Memory(*images(1))
    assert study(archive).images[0].state == "stored"
    (segmentation,) = (each for each in archive.datasets() if each.Modality == "SEG")
    segmentation.SeriesDescription = "of another"
    archive.files[segmentation.SOPInstanceUID] = encoded(segmentation)
    before = dict(archive.files)
    state, problem = only(study(archive))
    assert (state, problem) == (
        "failed",
        "PACS holds another object under the UID of ours: SeriesDescription differs",
    )
    assert archive.files == before


def test_an_object_of_another_study_is_not_stored(tmp_path):
    stray = tmp_path / "stray.dcm"
    dicom_image(study="7").save_as(stray, enforce_file_format=True)
    archive = Memory(*images(1))
    report = study(archive, localise=lambda paths, output: [Localised(path=paths[0], objects=(stray,))])
    assert only(report) == ("failed", "an object belongs to another study than its image: not stored")
    assert archive.modalities() == ["OP"]


def test_a_folder_serves_one_run_at_a_time(tmp_path):
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="is used by another run: wait for it, or give another --state"):
            run(Memory(), tmp_path)
    assert run(Memory(), tmp_path)[0] == 0


def test_a_damaged_journal_stops_the_run(tmp_path):
    Journal(tmp_path / "journal.jsonl").path.write_text("damaged\n")
    with pytest.raises(ValueError, match="line 1 is no entry"):
        run(Memory(), tmp_path)


def test_nothing_of_a_patient_is_said_or_kept(tmp_path, caplog, recwarn):
    """Neither in the report, nor in a log, a warning or a file that outlives the run."""
    archive = Memory(*images(3))
    broken_image = dicom_image(study="1", pixels=photograph()[:9])
    archive.files[broken_image.SOPInstanceUID] = encoded(broken_image)[:-200]
    archive.fault = times(3, "holds")
    with caplog.at_level(logging.DEBUG):
        code, lines = run(archive, tmp_path)
        assert code == 3
        assert len(failures(lines)) == 2
    said = "\n".join([*lines, caplog.text, *(str(each.message) for each in recwarn)])
    said += "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "stored" in said
    for word in patient_data(*archive.datasets()[:3]) | {"SYNTHETIC"}:
        assert word not in said


def test_an_error_of_the_archive_is_the_only_kind(tmp_path):
    """What is no `TransferError` is a fault of ours, and is not hidden."""
    archive = Memory(*images(1))

    def fault(operation):
        raise KeyError(operation)

    archive.fault = fault
    with pytest.raises(KeyError):
        run(archive, tmp_path)
    assert issubclass(TransferError, RuntimeError)
