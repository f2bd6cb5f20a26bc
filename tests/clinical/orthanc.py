"""Orthanc, a free PACS, with its DICOMweb plug-in, on random ports of this machine."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import Dataset, dcmread

PLUGINS = ("share/orthanc/plugins/libOrthancDicomWeb.so", "lib/orthanc/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Orthanc:
    """A running one; ``auth`` is the user and the password it asks for."""

    http: int
    dicom: int
    auth: tuple[str, str] | None = None

    @property
    def root(self) -> str:
        """Of its own REST interface."""
        return f"http://localhost:{self.http}"

    @property
    def url(self) -> str:
        """Of its DICOMweb service."""
        return f"{self.root}/dicom-web"

    def get(self, path: str) -> requests.Response:
        """Of the REST interface."""
        answer = requests.get(f"{self.root}{path}", auth=self.auth, timeout=20)
        answer.raise_for_status()
        return answer

    def put(self, content: bytes) -> None:
        """Store a file as it is."""
        answer = requests.post(f"{self.root}/instances", data=content, auth=self.auth, timeout=20)
        answer.raise_for_status()

    def objects(self) -> list[Dataset]:
        """Everything it holds."""
        return [dcmread(BytesIO(self.get(f"/instances/{each}/file").content)) for each in self.get("/instances").json()]

    def count(self) -> int:
        """How many objects it holds."""
        return len(self.get("/instances").json())


@contextmanager
def orthanc(
    folder: Path, *, auth: tuple[str, str] | None = None, certificate: Path | None = None, **more: Any
) -> Iterator[Orthanc]:
    """Start it, stop it; skips the test where it is not installed.

    Args:
        folder: for its data base and its log.
        auth: user and password it asks for over HTTP.
        certificate: PEM file with a certificate and its key, for DIMSE over TLS; Debian's package dies of HTTPS.
        more: options of Orthanc.
    """
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("Orthanc is not installed (Debian packages orthanc, orthanc-dicomweb)")
    prefix = Path(program).parents[1]
    plugin = next((prefix / each for each in PLUGINS if (prefix / each).exists()), None)
    if plugin is None:
        pytest.skip("Orthanc has no DICOMweb plug-in (Debian package orthanc-dicomweb)")
    here = Orthanc(http=free_port(), dicom=free_port(), auth=auth)
    options = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(plugin)],
        "HttpPort": here.http,
        "DicomPort": here.dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": auth is not None,
        "AuthenticationEnabled": auth is not None,
        "RegisteredUsers": {auth[0]: auth[1]} if auth else {},
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomCheckCalledAet": False,
        "OverwriteInstances": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    if certificate:
        options |= {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(certificate),
            "DicomTlsPrivateKey": str(certificate),
            "DicomTlsTrustedCertificates": str(certificate),
            "DicomTlsRemoteCertificateRequired": False,
        }
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "orthanc.json"
    settings.write_text(json.dumps(options | more))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(settings)], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_ready(here, process, folder / "log")
        yield here
    finally:
        process.kill()  # its data are thrown away, and a stop in order takes 3.5 s
        process.wait()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def _wait_until_ready(here: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            here.get("/system")
            return
        except requests.RequestException:
            time.sleep(0.05)
    raise RuntimeError(f"Orthanc did not start:\n{log.read_text(errors='replace')[-2000:]}")
