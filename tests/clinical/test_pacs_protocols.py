"""DICOMweb and DIMSE against servers that say whatever a test lets them say: every error is one line and no more."""

from __future__ import annotations

import json
import ssl
from contextlib import contextmanager

import pytest
from dicom_files import dicom_image
from faulty import Answer, Faults, http_between
from orthanc import free_port
from pacs_fakes import encoded, patient_data
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, evt

from monai_cavga.clinical.pacs import dicomweb, dimse
from monai_cavga.clinical.pacs.archive import ObjectRef, Query, TransferError
from monai_cavga.clinical.pacs.dicomweb import DicomWebArchive
from monai_cavga.clinical.pacs.dimse import FIND, GET, DimseArchive

IMAGE = dicom_image()
REF = ObjectRef.of(IMAGE)
DAY = Query(dates="20250317", modalities=("OP",))

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@contextmanager
def web(answer):
    """An archive of a server with one answer, "drop" for none; or with what ``answer`` makes of a request's path."""
    faults = Faults(lambda number, what: answer(what) if callable(answer) else answer)
    with http_between("", faults) as root:
        yield DicomWebArchive(root)


def rows(*items):
    content = [{tag: {"vr": "UI", "Value": [value]} for tag, value in item.items()} for item in items]
    return Answer(body=json.dumps(content).encode())


def paged(*items):
    """A server that knows offsets, and sends three at most."""

    def answer(what):
        start = int(what.split("offset=")[1].split("&")[0]) if "offset=" in what else 0
        return rows(*items[start : start + 3])

    return answer


def problem(call):
    with pytest.raises(TransferError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for word in patient_data(IMAGE):
        assert word not in text
    return text, caught.value.transient


@pytest.mark.parametrize(
    ("answer", "said", "transient"),
    [
        ("drop", "no connection to the PACS, or it broke off", True),
        (Answer(401), "PACS refused access (HTTP 401): set MONAI_CAVGA_PACS_USER and", False),
        (Answer(403), "PACS refused access (HTTP 403)", False),
        (Answer(400), "PACS answered HTTP 400", False),
        (Answer(404), "PACS answered HTTP 404", True),
        (Answer(500), "PACS answered HTTP 500", True),
        (Answer(body=b"<html>"), "answer of the PACS cannot be read (", True),
        (Answer(body=b"[{}]" * 9, lost=9), "no connection to the PACS, or it broke off", True),
    ],
)
def test_what_a_web_server_may_say(answer, said, transient):
    with web(answer) as archive:
        for call in (lambda: archive.studies(DAY), lambda: archive.holds(REF), lambda: archive.retrieve(REF)):
            text, later = problem(call)
            assert text.startswith(said)
            assert later == transient


def test_a_silent_web_server(monkeypatch):
    monkeypatch.setattr(dicomweb, "TIMEOUT", (0.2, 0.2))

    def answer(what):
        import time

        time.sleep(0.5)
        return rows()

    with web(answer) as archive:
        assert problem(lambda: archive.studies(DAY)) == ("PACS did not answer in time", True)


def test_no_server_and_no_tls():
    nobody = DicomWebArchive(f"http://127.0.0.1:{free_port()}")
    assert problem(lambda: nobody.studies(DAY)) == ("no connection to the PACS, or it broke off", True)
    with http_between("", Faults(lambda number, what: rows())) as root:
        plain = DicomWebArchive(root.replace("http", "https"))
        assert problem(lambda: plain.studies(DAY)) == (
            "no TLS connection to the PACS: is its certificate in --ca?",
            False,
        )


def test_web_searches_go_through_all_pages_and_each_row_counts_once():
    studies = [{"0020000D": f"1.2.{n}"} for n in range(7)]
    with web(paged(*studies, studies[0])) as archive:
        assert archive.studies(DAY) == [f"1.2.{n}" for n in range(7)]
    with web(rows(*studies)) as archive:  # knows no offset: the same page for ever
        assert archive.studies(Query(dates="20250317", modalities=("OP", "XC"))) == [f"1.2.{n}" for n in range(7)]
    with web(rows({"0020000D": "1.02"}, {"00080060": "OP"})) as archive:
        assert archive.studies(DAY) == ["1.02", ""]  # `process_study` refuses them one by one
    instances = [{"00080018": f"1.9.{n}", "00080016": REF.sop_class} for n in range(4)]
    series = [{"0020000E": "1.3", "00080060": "OP"}, {"0020000E": "1.4", "00080060": "SEG"}, {"0020000E": "1.5"}]
    ask = paged(*instances)
    with web(lambda what: ask(what) if "/instances" in what else paged(*series)(what)) as archive:
        found = archive.images("1.2", modalities=("OP",))
    assert [each.instance for each in found] == [f"1.9.{n}" for n in range(4)]
    assert {each.series for each in found} == {"1.3"}


def test_malformed_uids_of_a_web_server():
    with web(rows({"0020000E": "1.3", "00080060": "OP", "00080018": "x", "00080016": "1.2"})) as archive:
        text, transient = problem(lambda: archive.images("1.2", modalities=("OP",)))
    assert (text, transient) == ("SOPInstanceUID is missing or malformed: repair the object in the archive", False)


@pytest.mark.parametrize("protocol", [dicomweb, dimse])
def test_a_deflated_object_is_refused_at_once(protocol, monkeypatch):
    def refuse(content):
        raise TransferError("deflated", transient=False)

    monkeypatch.setattr(protocol, "opened", refuse)
    if protocol is dicomweb:
        with web(Answer(kind="application/dicom", body=b"deflated")) as archive:
            assert problem(lambda: archive.retrieve(REF)) == ("deflated", False)
    else:
        with scp(get=sends(IMAGE), contexts=[(REF.sop_class, IMAGE.file_meta.TransferSyntaxUID)]) as archive:
            assert problem(lambda: archive.retrieve(REF)) == ("deflated", False)


def multipart(content, *, end=b"\r\n--mark--"):
    body = b"--mark\r\nContent-Type: application/dicom\r\n\r\n" + content + end
    return Answer(kind='multipart/related; type="application/dicom"; boundary="mark"', body=body)


def test_a_web_object_comes_in_parts_or_whole():
    content = encoded(IMAGE)
    for answer in (multipart(content), Answer(kind="application/dicom", body=content)):
        with web(answer) as archive:
            assert archive.retrieve(REF) == IMAGE
    for answer in (multipart(content, end=b""), multipart(b"no DICOM")):
        with web(answer) as archive:
            text, transient = problem(lambda archive=archive: archive.retrieve(REF))
            assert text.startswith("answer of the PACS cannot be read (")
            assert transient


@pytest.mark.parametrize(("reason", "transient"), [(0xA700, True), (0xC000, False)])
def test_a_web_server_that_refuses_an_object(reason, transient):
    item = {"00081197": {"vr": "US", "Value": [reason]}}
    refused = Answer(body=json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode())
    with web(refused) as archive:
        said = f"PACS refused to store the object (failure reason 0x{reason:04X})"
        assert problem(lambda: archive.store(IMAGE)) == (said, transient)


@contextmanager
def scp(*, services=(FIND, GET), contexts=(), **handlers):
    """A DIMSE archive whose server answers with these handlers: find, get, store."""
    entity = AE(ae_title="PACS")
    for sop_class, syntax in (*((each, ImplicitVRLittleEndian) for each in services), *contexts):
        entity.add_supported_context(sop_class, syntax, scu_role=True, scp_role=True)
    events = [(getattr(evt, f"EVT_C_{name.upper()}"), handler) for name, handler in handlers.items()]
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=events)
    try:
        yield DimseArchive("PACS", host="127.0.0.1", port=port, calling="ME")
    finally:
        server.shutdown()


def answers(*found):
    """Of a query: a data set is a row, a number the last status."""

    def handle(event):
        for each in found:
            yield (0xFF00, each) if isinstance(each, Dataset) else (each, None)

    return handle


def row(**keys):
    dataset = Dataset()
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def test_dimse_searches():
    with scp(
        find=answers(row(StudyInstanceUID="1.2"), row(StudyInstanceUID="1.2"), row(StudyDate="2025"), 0x0000)
    ) as archive:
        assert archive.studies(DAY) == ["1.2", ""]
    series = [row(SeriesInstanceUID="1.3", Modality="OP"), row(SeriesInstanceUID="1.4", Modality="SR"), 0x0000]
    images = [row(SOPInstanceUID="1.5", SOPClassUID="1.6"), row(SOPInstanceUID="1.7", SOPClassUID="1.6"), 0x0000]

    def find(event):
        yield from answers(*(series if event.identifier.QueryRetrieveLevel == "SERIES" else images))(event)

    with scp(find=find) as archive:
        found = archive.images("1.2", modalities=("OP",))
        assert [(each.series, each.instance) for each in found] == [("1.3", "1.5"), ("1.3", "1.7")]
        assert archive.holds(found[1])
        assert not archive.holds(REF)


@pytest.mark.parametrize("status", [0xA700, 0xC000, 0xFE00])
def test_a_query_that_breaks_off_gives_no_part_of_its_rows(status):
    with scp(find=answers(row(StudyInstanceUID="1.2"), status)) as archive:
        assert problem(lambda: archive.studies(DAY)) == (f"PACS broke off a query (status 0x{status:04X})", True)


def test_an_object_that_is_not_sent():
    with scp(get=answers(0xA701)) as archive:
        text, transient = problem(lambda: archive.retrieve(REF))
    assert text.startswith("PACS did not send the object (status 0x")
    assert transient


def sends(image):
    def get(event):
        yield 1
        yield 0xFF00, image

    return get


def test_an_object_that_is_sent():
    with scp(get=sends(IMAGE), contexts=[(REF.sop_class, IMAGE.file_meta.TransferSyntaxUID)]) as archive:
        assert archive.retrieve(REF) == IMAGE


@pytest.mark.parametrize(("status", "transient"), [(0xA700, True), (0xC000, False)])
def test_a_dimse_server_that_refuses_an_object(status, transient):
    with scp(store=lambda event: status, contexts=[(REF.sop_class, IMAGE.file_meta.TransferSyntaxUID)]) as archive:
        assert problem(lambda: archive.store(IMAGE)) == (
            f"PACS refused to store the object (status 0x{status:04X})",
            transient,
        )


def test_a_warning_is_no_refusal_and_another_syntax_is():
    contexts = [(REF.sop_class, IMAGE.file_meta.TransferSyntaxUID)]
    with scp(store=lambda event: 0xB000, contexts=contexts) as archive:
        archive.store(IMAGE)
        text, transient = problem(lambda: archive.store(dicom_image(encoding="jpeg2000")))
    assert JPEG2000Lossless not in text
    assert text.startswith("PACS does not take this operation, kind of object or transfer syntax")
    assert not transient


def test_a_server_without_queries_by_get():
    with scp(services=(FIND,), contexts=[(REF.sop_class, IMAGE.file_meta.TransferSyntaxUID)]) as archive:
        text, transient = problem(lambda: archive.retrieve(REF))
    assert text.startswith("PACS does not take this operation")
    assert not transient


def test_objects_that_cannot_be_sent():
    with scp(store=lambda event: 0x0000, contexts=[(REF.sop_class, IMAGE.file_meta.TransferSyntaxUID)]) as archive:
        nothing = Dataset()
        nothing.file_meta = FileMetaDataset()
        assert problem(lambda: archive.store(nothing)) == ("answer of the PACS cannot be read (AttributeError)", True)
        unsendable = dicom_image()
        unsendable["PixelRepresentation"].value = "signed"
        text, transient = problem(lambda: archive.store(unsendable))
    assert text == "answer of the PACS cannot be read (ValueError)"
    assert transient


def test_associations_that_do_not_come_about(monkeypatch):
    port = free_port()
    nobody = DimseArchive("PACS", host="127.0.0.1", port=port, calling="ME")
    assert problem(lambda: nobody.studies(DAY)) == ("no association with the PACS", True)
    monkeypatch.setattr(dimse, "CONNECT_TIMEOUT", 2.0)
    with scp(find=answers(0x0000)) as archive:
        context = ssl.create_default_context()
        encrypted = DimseArchive("PACS", host="127.0.0.1", port=archive._port, calling="ME", tls=context)
        text, transient = problem(lambda: encrypted.studies(DAY))
        assert text == "no association with the PACS (TLS: is its certificate in --ca?)"
        assert transient
    entity = AE(ae_title="PACS")
    entity.add_supported_context(FIND)
    entity.require_called_aet = True
    server = entity.start_server(("127.0.0.1", port), block=False)
    try:
        wrong = DimseArchive("OTHER", host="127.0.0.1", port=port, calling="ME")
        assert problem(lambda: wrong.studies(DAY)) == (
            "PACS rejected the association: does it know ME, and is it called OTHER?",
            False,
        )
    finally:
        server.shutdown()
