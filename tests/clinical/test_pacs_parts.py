"""The small parts of the PACS command: queries, connections, retries, the journal, silence, opening and comparing."""

from __future__ import annotations

import json
import logging
import sys
import warnings

import numpy as np
import pytest
from dicom_files import dicom_image, photograph
from pacs_fakes import encoded
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from monai_cavga.clinical.pacs.archive import ObjectRef, Query, TransferError, valid_uid
from monai_cavga.clinical.pacs.content import difference, missing_part, opened
from monai_cavga.clinical.pacs.journal import Journal, image_key
from monai_cavga.clinical.pacs.options import PASSWORD, USER, Connection
from monai_cavga.clinical.pacs.retry import Retry
from monai_cavga.clinical.quiet import quiet

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "which studies"),
        ({"studies": ("1.2",), "dates": "20250301"}, "which studies"),
        ({"studies": ("1.2", "1.02")}, "--studies: number 2 is not a UID"),
        ({"dates": "2025"}, "--dates is '2025', expected YYYYMMDD"),
        ({"dates": "20250230"}, "--dates is '20250230'"),
        ({"dates": "20250302-20250301"}, "earlier day first"),
        ({"dates": "20250301-20250302-20250303"}, "--dates is"),
        ({"dates": "20250301", "modalities": ("op*",)}, "--modality is 'op\\*'"),
        ({"dates": "20250301", "limit": 0}, "--limit is 0"),
    ],
)
def test_queries_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Query(**options)


def test_queries_that_are_taken():
    assert Query(dates="20250301-20250301").modalities == ("OP",)
    assert Query(studies=("1.2.3",), modalities=("OP", "XC"), limit=1).dates == ""


def test_a_malformed_uid_is_named_and_not_shown():
    image = dicom_image()
    assert ObjectRef.of(image).sop_class == image.SOPClassUID
    assert valid_uid("1.2.3", "StudyInstanceUID") == "1.2.3"
    image.SeriesInstanceUID = "../SECRET"
    with pytest.raises(TransferError, match=r"^SeriesInstanceUID is missing or malformed") as caught:
        ObjectRef.of(image)
    assert "SECRET" not in str(caught.value)
    assert not caught.value.transient


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "how is the PACS reached"),
        ({"url": "https://pacs", "aet": "PACS"}, "how is the PACS reached"),
        ({"aet": "PACS", "host": "pacs"}, "--aet needs --host and --port"),
        ({"aet": "PACS", "host": "pacs", "port": 65536}, "--aet needs --host and --port"),
        ({"aet": "A" * 17, "host": "pacs", "port": 104}, "--aet is 'AAAAAAAAAAAAAAAAA', expected at most 16"),
        ({"aet": "PACS", "host": "pacs", "port": 104, "calling": "Größe"}, "--calling is 'Größe'"),
        ({"aet": "PACS", "host": "pacs", "port": 104, "ca": __file__}, "do nothing over DIMSE without --tls"),
    ],
)
def test_connections_that_are_refused(options, message, tmp_path):
    if "ca" in options:
        options = options | {"ca": tmp_path / "ca.pem"}
        options["ca"].touch()
    with pytest.raises(ValueError, match=message):
        Connection(**options)


def test_certificates_must_be_there_and_readable(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--ca .*ca.pem is not a file"):
        Connection(url="https://pacs", ca=tmp_path / "ca.pem")
    (tmp_path / "ca.pem").write_text("no certificate")
    dimse = Connection(aet="PACS", host="pacs", port=104, tls=True, ca=tmp_path / "ca.pem")
    with pytest.raises(ValueError, match="--ca or --cert cannot be read"):
        dimse.open()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://me:secret@pacs/dicom-web", "--url holds a user or a password"),
        ("pacs/dicom-web", "expected http"),
        ("ftp://pacs", "expected http"),
        ("https://pacs/dicom-web?token=1", "expected http"),
        ("http://pacs/dicom-web", "the password would be sent for all to read"),
    ],
)
def test_urls_that_are_refused(url, message, monkeypatch):
    monkeypatch.setenv(USER, "me")
    monkeypatch.setenv(PASSWORD, "secret")
    with pytest.raises(ValueError, match=message) as caught:
        Connection(url=url).open()
    assert "secret" not in str(caught.value)
    Connection(url="http://localhost/dicom-web").open()


@pytest.mark.parametrize(
    ("library", "connection", "remedy"),
    [
        ("dicomweb_client.web", Connection(url="https://pacs"), "pip install dicomweb-client"),
        ("pynetdicom", Connection(aet="PACS", host="pacs", port=104), "pip install pynetdicom"),
    ],
)
def test_a_missing_library_is_said(library, connection, remedy, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=f"needs {library}: {remedy}$"):
        connection.open()


def test_waits_double_and_the_last_error_tells_the_number_of_tries():
    waits: list[float] = []

    def fail():
        raise TransferError("busy", transient=True)

    with pytest.raises(TransferError, match=r"^busy \(8 tries\)$"):
        Retry(times=7, wait=1, sleep=waits.append)(fail)
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_what_may_not_pass_is_not_tried_again():
    tries = []

    def refuse():
        tries.append(1)
        raise TransferError("no access", transient=False)

    with pytest.raises(TransferError, match=r"^no access$"):
        Retry(wait=0)(refuse)
    assert len(tries) == 1
    answers = iter([TransferError("busy", transient=True), "done"])

    def recover():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert Retry(wait=0)(recover) == "done"


@pytest.mark.parametrize("options", [{"times": -1}, {"wait": -0.1}])
def test_negative_retries_are_refused(options):
    with pytest.raises(ValueError, match="expected at least 0"):
        Retry(**options)


def test_a_journal_keeps_the_last_entry_and_what_is_finished(tmp_path):
    journal = Journal(tmp_path / "deep" / "journal.jsonl")
    journal.add(image="a", study="s", state="failed", problem="busy")
    journal.add(image="b", study="s", state="refused", problem="no photograph")
    journal.add(image="c", study="s", state="failed", problem="busy")
    journal.add(image="a", study="s", state="stored")
    for each in (journal, Journal(journal.path)):
        assert each.finished() == {"a", "b"}
        assert each["a"] == {"image": "a", "study": "s", "state": "stored", "problem": ""}
        assert each["c"]["problem"] == "busy"
    assert journal.path.stat().st_mode & 0o077 == 0


def test_a_last_line_cut_short_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.add(image="a", study="s", state="stored")
    whole = path.read_bytes()
    journal.add(image="b", study="s", state="stored")
    for length in range(len(whole), len(path.read_bytes())):  # whichever byte was the last
        path.write_bytes(whole + whole[: length - len(whole)])
        assert Journal(path).finished() == {"a"}
        assert path.read_bytes() == whole
    Journal(path).add(image="c", study="s", state="stored")
    assert Journal(path).finished() == {"a", "c"}


@pytest.mark.parametrize("damage", [b"\0\0\0", b"{}", b"[]", b"7", b'{"image": "a"}'])
def test_a_damaged_line_is_named(tmp_path, damage):
    path = tmp_path / "journal.jsonl"
    Journal(path).add(image="a", study="s", state="stored")
    path.write_bytes(path.read_bytes() + damage + b"\n")
    with pytest.raises(ValueError, match=r"journal.jsonl: line 2 is no entry of a journal: mend or remove"):
        Journal(path)


def test_keys_depend_on_image_archive_and_recipe():
    keys = {image_key(*each, archive=a, recipe=r) for each in (("1",), ("2",)) for a in "ab" for r in "ab"}
    assert len(keys) == 8
    assert image_key("1", archive="a", recipe="b") == image_key("1", archive="a", recipe="b")


def test_libraries_are_quiet_inside_and_as_before_outside(caplog, recwarn):
    talker = logging.getLogger("pynetdicom.acse")
    with caplog.at_level(logging.DEBUG), quiet():
        talker.error("Müller")
        logging.getLogger("pydicom").warning("Müller")
        warnings.warn("Müller", stacklevel=1)
    assert not caplog.records
    assert not len(recwarn)
    talker.error("heard")
    assert caplog.messages == ["heard"]


@pytest.mark.parametrize("encoding", ["raw", "rle", "jpeg"])
def test_a_file_cut_short_is_found(encoding):
    content = encoded(dicom_image(encoding=encoding))
    assert missing_part(opened(content)) == ""
    start = content.index(b"\xe0\x7f\x10\x00")  # the pixels'
    for length in (start - 40, start, *range(start + 12, len(content) - 20, 97), len(content) - 20):
        assert missing_part(opened(content[:length])), f"{length} of {len(content)} bytes"


def test_an_image_without_pixels_is_found():
    for keyword in ("PixelData", "Rows"):
        image = dicom_image()
        del image[keyword]
        assert missing_part(image) == "its pixels are missing"


def test_a_deflated_file_is_not_inflated():
    image = dicom_image()
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(TransferError, match="deflated") as caught:
        opened(encoded(image))
    assert not caught.value.transient


def report(value: float = 0.5) -> Dataset:
    """An object with a number two sequences deep."""
    inner, outer, whole = Dataset(), Dataset(), Dataset()
    inner.FloatingPointValue = value
    outer.MeasuredValueSequence = [inner]
    whole.ContentSequence = [outer]
    whole.PatientName = "Müller"
    return whole


def test_what_an_archive_may_change_is_no_difference():
    ours, theirs = dicom_image(), opened(encoded(dicom_image(encoding="rle")))
    theirs.PatientName, theirs.PatientID, theirs.AccessionNumber = "Corrected", "7", "9"
    theirs.add_new(0x00091001, "LO", "private")
    theirs.SoftwareVersions = ours.SoftwareVersions
    assert difference(ours, theirs, exactly=True) == ""


def test_differences_are_named_without_values():
    assert difference(report(), report(), exactly=True) == ""
    assert difference(report(), report(0.5004), exactly=True) == "FloatingPointValue differs"
    assert difference(report(), report(0.5004), exactly=False) == ""
    assert difference(report(), report(0.6), exactly=False) == "FloatingPointValue differs"
    longer = report()
    longer.ContentSequence.append(Dataset())
    assert difference(report(), longer, exactly=False) == "ContentSequence differs"
    more = report()
    more.SeriesNumber = 3
    assert difference(report(), more, exactly=False) == "SeriesNumber differs"
    assert difference(more, report(), exactly=False) == "SeriesNumber differs"
    lists = report()
    lists.ContentSequence[0].MeasuredValueSequence[0].FloatingPointValue = [0.5, 0.5]
    assert difference(report(), lists, exactly=False) == "FloatingPointValue differs"


def test_pixels_are_compared_exactly_or_to_a_step():
    pixels = photograph()
    ours = dicom_image(pixels=pixels)
    nearly = pixels.copy()
    nearly[..., 0] += 1
    assert difference(ours, dicom_image(pixels=nearly), exactly=True).endswith("% of the pixels differ")
    assert difference(ours, dicom_image(pixels=nearly), exactly=False) == ""
    wrong = pixels.copy()
    wrong[3:9, 5:50] += 9
    assert difference(ours, dicom_image(pixels=wrong), exactly=False).endswith("% of the pixels differ")
    turned = dicom_image(pixels=np.ascontiguousarray(pixels.transpose(1, 0, 2)))
    assert difference(ours, turned, exactly=False) == "Rows differs"
    short = opened(encoded(ours))
    short.PixelData = short.PixelData[:-10]
    assert difference(ours, short, exactly=False).endswith("bytes of its pixels came")


def test_the_journal_holds_nothing_but_hashes(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add(image=image_key("1.2.3", archive="a", recipe="r"), study="0a1b", state="stored")
    entry = json.loads(journal.path.read_text())
    assert set(entry) == {"image", "study", "state", "problem"}
    assert "1.2.3" not in journal.path.read_text()
