"""Faults between the PACS command and a real PACS: each is listed, none loses anything, the next run completes."""

from __future__ import annotations

from collections import Counter

import pytest
from dicom_files import dicom_image, photograph
from faulty import Answer, Faults, http_between, tcp_between
from orthanc import free_port, orthanc
from pacs_fakes import encoded, work

from monai_cavga.clinical.pacs.archive import Query, short_hash
from monai_cavga.clinical.pacs.options import Connection
from monai_cavga.clinical.pacs.run import run_pacs

DAYS = Query(dates="20250301-20250331")


def half(answer: Answer) -> Answer:
    """What arrives of a file of which the PACS has lost the second half."""
    return Answer(answer.status, answer.kind, answer.body[: len(answer.body) // 2])


def cut(answer: Answer) -> Answer:
    return Answer(answer.status, answer.kind, answer.body, lost=len(answer.body) // 2)


def store(server, count):
    found = []
    for number in range(count):
        pixels = photograph()
        pixels[5 : 6 + number, 30:40, 1] = number
        encoding = ("raw", "jpeg", "rle")[number % 3]
        found.append(dicom_image("OP8", pixels=pixels, study=str(number), encoding=encoding))
        server.put(encoded(found[-1]))
    return found


def run_to_the_end(server, sources, connection, state, faults_of, *, some, all_of_them):
    """With some faults, with nothing but faults, without: each failure is a line, and at the end all is there.

    Returns the lines of the failures.
    """
    before = {each.SOPInstanceUID: each.PixelData for each in server.objects()}

    def run(decide):
        faults_of.seen.clear()
        faults_of.decide = decide
        lines: list[str] = []
        code = run_pacs(connection, DAYS, work=work(), state=state / "state", say=lines.append)
        return code, lines

    code, lines = run(some)
    listed = [line for line in lines if " failed: " in line]
    assert code == 3
    assert 0 < len(listed) < len(sources)
    assert lines[-1] == (
        f"{len(sources)} studies: {len(sources) - len(listed)} images stored and verified, "
        f"{len(listed)} failures, listed above"
    )
    assert {line.split("study ")[1][:12] for line in lines[:-1]} == {short_hash(i.StudyInstanceUID) for i in sources}
    code, (line,) = run(all_of_them)
    assert code == 1
    assert line.startswith("query failed: ")
    code, lines = run(lambda number, what: None)
    assert (code, lines[-1]) == (0, f"{len(sources)} studies: {len(sources)} images stored and verified, 0 failures")
    held = server.objects()
    assert Counter((each.StudyInstanceUID, each.Modality) for each in held) == {
        (image.StudyInstanceUID, kind): 1 for image in sources for kind in ("OP", "SEG", "SR")
    }
    assert {each.SOPInstanceUID: each.PixelData for each in held if each.Modality == "OP"} == before
    return listed


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Answer(500), "PACS answered HTTP 500 (3 tries)"),
        ("drop", "no connection to the PACS, or it broke off (3 tries)"),
        (cut, "no connection to the PACS, or it broke off (3 tries)"),
        (half, "answer of the PACS cannot be read ("),
    ],
)
def test_faults_of_a_web_server(tmp_path, fault, said):
    with orthanc(tmp_path / "pacs") as server:
        sources = store(server, 3)
        faults_of = Faults()
        with http_between(server.root, faults_of) as root:
            listed = run_to_the_end(
                server,
                sources,
                Connection(url=f"{root}/dicom-web"),
                tmp_path,
                faults_of,
                some=lambda number, what: fault if sources[1].StudyInstanceUID in what or number == 5 else None,
                all_of_them=lambda number, what: fault,
            )
    assert any(said in line for line in listed)


@pytest.mark.parametrize("arrives", [0, 250])
def test_faults_of_a_dimse_server(tmp_path, arrives):
    """Connections that end at once, and that break off after so many bytes of the answer."""
    with orthanc(tmp_path / "pacs") as server:
        sources = store(server, 2)
        faults_of = Faults()
        with tcp_between(server.dicom, faults_of) as port:
            listed = run_to_the_end(
                server,
                sources,
                Connection(aet="ORTHANC", host="localhost", port=port),
                tmp_path,
                faults_of,
                some=lambda number, what: arrives if 3 <= number < 6 else None,  # tries of the first study
                all_of_them=lambda number, what: arrives,
            )
    assert any("(3 tries)" in line for line in listed)


def test_a_server_that_is_not_there(tmp_path):
    for connection in (
        Connection(url=f"http://localhost:{free_port()}/dicom-web"),
        Connection(aet="ORTHANC", host="localhost", port=free_port()),
    ):
        lines: list[str] = []
        code = run_pacs(connection, DAYS, work=work(), state=tmp_path, say=lines.append)
        assert code == 1
        assert lines[0].startswith("query failed: no ")
