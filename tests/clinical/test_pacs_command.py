"""``python -m monai_cavga pacs`` with a real bundle against a real PACS, over both protocols; and what it refuses."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from dicom_files import dicom_image, faults
from faulty import Faults, http_between
from orthanc import orthanc
from pacs_fakes import encoded, patient_data
from pydicom.dataset import Dataset
from tiny_bundle import photo, write_bundle

from monai_cavga.__main__ import main
from monai_cavga.clinical.pacs.archive import short_hash
from monai_cavga.clinical.pacs.options import PASSWORD, USER

DATES = ["--dates", "20250301-20250331"]
HURRY = ["--retries", "1", "--wait", "0"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of localhost, signed by itself, with its key; one PEM file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    key = file.with_suffix(".key")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", str(key), "-out", str(file)], check=True, capture_output=True)
    file.write_text(file.read_text() + key.read_text())
    return file


def images() -> list[Dataset]:
    """Two photographs, one that is too dark, one with an SR's content labelled as a photograph, one of another kind."""
    dark = dicom_image("OP8", pixels=photo(3) // 12, study="3")
    empty = dicom_image("OP8", study="4")
    empty.SOPClassUID = empty.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    del empty.PixelData, empty.Rows
    return [
        dicom_image("OP8", pixels=photo(1), study="1", laterality="L", encoding="jpeg2000"),
        dicom_image("OP8", pixels=photo(2), study="2"),
        dark,
        empty,
        dicom_image("VL", pixels=photo(1), study="5"),
    ]


@pytest.fixture
def pacs(tmp_path, bundle, capsys):
    """A server with `images`, and the command for it: its exit code and its lines."""
    with orthanc(tmp_path / "pacs") as server:
        for image in images():
            server.put(encoded(image))

        def command(*words, state="state"):
            code = main(["pacs", "--bundle", str(bundle), "--state", str(tmp_path / state), *HURRY, *map(str, words)])
            printed = capsys.readouterr()
            assert printed.out == ""
            return code, printed.err.splitlines()

        yield SimpleNamespace(server=server, command=command, state=tmp_path / "state")


def dimse(port, *more):
    return ["--aet", "ORTHANC", "--host", "localhost", "--port", port, *more]


def of(lines, image):
    name = f"study {short_hash(image.StudyInstanceUID)}: "
    return [line.split(name)[1] for line in lines if name in line]


def test_both_protocols_with_a_real_bundle(pacs, tmp_path, caplog, recwarn):
    sources = images()
    with caplog.at_level(logging.DEBUG):
        code, lines = pacs.command("--url", pacs.server.url, *DATES)
    assert code == 3
    assert lines[-1] == "4 studies: 2 images stored and verified, 2 failures, listed above"
    for image in sources[:2]:
        assert of(lines, image) == ["1 images (0 done before), 2 objects sent, 0 found there"]
    assert "refused: cannot assess: too dark" in of(lines, sources[2])[1]
    assert "failed: the image is cut short: its pixels are missing" in of(lines, sources[3])[1]
    held = pacs.server.objects()
    assert Counter(each.Modality for each in held) == {"OP": 4, "XC": 1, "SEG": 2, "SR": 2}
    for number, each in enumerate(each for each in held if each.Modality in ("SEG", "SR")):
        (tmp_path / f"{number}.dcm").write_bytes(encoded(each))
        assert faults(tmp_path / f"{number}.dcm") == []
    maps = {each.StudyInstanceUID: each.pixel_array for each in held if each.Modality == "SEG"}
    assert [maps[image.StudyInstanceUID].shape for image in sources[:2]] == [photo().shape[:2]] * 2
    assert all(np.ptp(each) > 50 for each in maps.values())

    # again: the journal knows what is done, and what is failed is tried
    code, again = pacs.command("--url", pacs.server.url, *DATES)
    assert code == 3
    assert of(again, sources[0]) == ["1 images (1 done before), 0 objects sent, 0 found there"]
    assert again[-1] == lines[-1]
    # the other protocol, one study by name: the archive knows
    code, third = pacs.command(*dimse(pacs.server.dicom), "--studies", sources[1].StudyInstanceUID)
    assert (code, third[-1]) == (0, "1 studies: 1 images stored and verified, 0 failures")
    assert of(third, sources[1]) == ["1 images (0 done before), 0 objects sent, 2 found there"]
    # another kind, and other photographs, over DIMSE
    code, fourth = pacs.command(
        *dimse(pacs.server.dicom), *DATES, "--modality", "XC", "--write", "capture", "seg_binary"
    )
    assert (code, of(fourth, sources[4])) == (0, ["1 images (0 done before), 2 objects sent, 0 found there"])
    assert Counter(each.Modality for each in pacs.server.objects())["SEG"] == 3
    assert pacs.server.count() == len(sources) + 6

    said = "\n".join([*lines, *again, *third, *fourth, caplog.text, *(str(each.message) for each in recwarn)])
    kept = "".join(path.read_text() for path in pacs.state.rglob("*") if path.is_file())
    assert kept.count('"stored"') == 4
    for word in patient_data(*pacs.server.objects()):
        assert word not in said + kept


def test_on_onnx_runtime_other_objects_are_made(pacs, bundle, capsys):
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    assert main(["export", "--bundle", str(bundle)]) == 0
    capsys.readouterr()
    words = ["--url", pacs.server.url, "--studies", images()[0].StudyInstanceUID]
    for backend in ("onnx", "torch"):  # maps are equal to 1e-4 only, so neither is taken for the other
        code, lines = pacs.command(*words, "--backend", backend)
        assert (code, of(lines, images()[0])) == (0, ["1 images (0 done before), 2 objects sent, 0 found there"])
    code, lines = pacs.command(*words, "--backend", "onnx", state="another")
    assert (code, of(lines, images()[0])) == (0, ["1 images (0 done before), 0 objects sent, 2 found there"])
    uids = [each.SOPInstanceUID for each in pacs.server.objects() if each.Modality in ("SEG", "SR")]
    assert len(set(uids)) == len(uids) == 4


def test_tls_and_credentials(tmp_path, bundle, certificate, capsys, monkeypatch):
    monkeypatch.setenv(USER, "clinic")
    monkeypatch.setenv(PASSWORD, "s3cret-word")

    def command(*words):
        fixed = ["--bundle", str(bundle), "--state", str(tmp_path / "state"), *DATES, *HURRY]
        code = main(["pacs", *fixed, *map(str, words)])
        lines = capsys.readouterr().err
        assert "s3cret-word" not in lines
        return code, lines

    with (
        orthanc(tmp_path / "pacs", auth=("clinic", "s3cret-word"), certificate=certificate) as server,
        http_between(server.root, Faults(), certificate=certificate) as front,
    ):
        server.put(encoded(images()[1]))
        web, classic = ["--url", f"{front}/dicom-web"], dimse(server.dicom, "--tls")
        trusted = ["--ca", certificate, "--cert", certificate]
        assert command(*web, *trusted)[0] == 0
        assert server.count() == 3
        code, lines = command(*classic, *trusted)
        assert (code, "0 objects sent, 2 found there" in lines) == (0, True)
        assert command(*web) == (1, "query failed: no TLS connection to the PACS: is its certificate in --ca?\n")
        code, lines = command(*classic)
        assert (code, lines) == (
            1,
            "query failed: no association with the PACS (TLS: is its certificate in --ca?) (2 tries)\n",
        )
        monkeypatch.setenv(PASSWORD, "wrong")
        code, lines = command(*web, *trusted)
        assert code == 1
        assert lines.startswith("query failed: PACS refused access (HTTP 401): set MONAI_CAVGA_PACS_USER")
        assert server.count() == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "how is the PACS reached?"),
        (["--url", "https://pacs"], "which studies?"),
        (["--url", "https://me:secret@pacs", *DATES], "--url holds a user or a password"),
        (["--url", "https://pacs", *DATES, "--retries", "-1"], "--retries is -1"),
        (["--url", "https://pacs", *DATES, "--ca", "/nowhere"], "--ca /nowhere is not a file"),
        (["--url", "https://pacs", *DATES, "--bundle", "/nowhere"], "/nowhere"),
    ],
)
def test_a_wrong_command_is_one_line(words, said, bundle, tmp_path, capsys):
    dates = DATES if not words else []
    assert main(["pacs", "--bundle", str(bundle), "--state", str(tmp_path / "state"), *dates, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert "secret" not in line
    assert not (tmp_path / "state").exists()
