"""A PACS over DICOMweb (QIDO-RS, WADO-RS, STOW-RS), through dicomweb-client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydicom import Dataset

from monai_cavga.clinical.pacs.archive import ObjectRef, Query, TransferError, valid_uid
from monai_cavga.clinical.pacs.content import opened

__all__ = ["DicomWebArchive", "checked_url"]

STUDY, SERIES, INSTANCE, SOP_CLASS, MODALITY = "0020000D", "0020000E", "00080018", "00080016", "00080060"
PAGE = 200
TIMEOUT = (10.0, 120.0)  # seconds to connect, and between two parts of an answer
LATER = {404, 408, 425, 429, 500, 502, 503, 504}  # 404: what was stored a moment ago may not be found yet
OUT_OF_RESOURCES = range(0xA700, 0xA800)
# any other syntax makes a server transcode, which it may fail to do half-way through its answer
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def checked_url(url: str, *, with_password: bool) -> str:
    """The address of a DICOMweb service.

    Raises:
        ValueError: if it is none, holds a user or password, or would send a password without encryption.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(
            "--url holds a user or a password, which every user of this machine can see: "
            "set MONAI_CAVGA_PACS_USER and MONAI_CAVGA_PACS_PASSWORD instead"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"--url is {url!r}, expected http[s]://HOST[:PORT]/PATH of the DICOMweb service")
    if with_password and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("--url is http, and the password would be sent for all to read: use https")
    return url.rstrip("/")


class DicomWebArchive:
    """See `Archive`.

    Args:
        url: of the service, as `checked_url` returns it.
        user: "" for none.
        password: of the user.
        ca: file of the certificates to trust beside none other; None: those of the system (certifi).
        certificate: file with a certificate and its key to show to the server; None for none.

    Raises:
        ModuleNotFoundError: if dicomweb-client is not installed, with what to install.
    """

    def __init__(
        self, url: str, *, user: str = "", password: str = "", ca: Path | None = None, certificate: Path | None = None
    ) -> None:
        try:
            import requests
            from dicomweb_client.web import DICOMwebClient
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"DICOMweb needs {error.name}: pip install dicomweb-client") from error
        self._url, self._session = url, requests.Session()
        self._session.trust_env = False  # no .netrc and no proxy of the environment comes between
        self._session.verify = str(ca) if ca else True
        self._session.cert = str(certificate) if certificate else None
        if user:
            self._session.auth = (user, password)
        self._client = DICOMwebClient(url, session=self._session, timeout=TIMEOUT)
        self._client.set_http_retry_params(retry=False)  # `Retry` does it, for both protocols alike
        self._client.host = urlsplit(url).netloc  # the client's own Host field lacks the port

    def studies(self, query: Query) -> list[str]:
        """See `Archive`."""
        found: dict[str, None] = {}
        for modality in query.modalities:
            filters = {"StudyDate": query.dates, "ModalitiesInStudy": modality}
            search = partial(self._client.search_for_studies, search_filters=filters)
            for row in self._pages(STUDY, search):
                found[str(_value(row, STUDY) or "")] = None
        return list(found)

    def images(self, study: str, *, modalities: tuple[str, ...]) -> list[ObjectRef]:
        """See `Archive`."""
        found: dict[str, ObjectRef] = {}
        for row in self._pages(SERIES, partial(self._client.search_for_series, study)):
            if _value(row, MODALITY) not in modalities:
                continue
            series = valid_uid(_value(row, SERIES), "SeriesInstanceUID")
            for item in self._pages(INSTANCE, partial(self._client.search_for_instances, study, series)):
                ref = ObjectRef(
                    study=study,
                    series=series,
                    instance=valid_uid(_value(item, INSTANCE), "SOPInstanceUID"),
                    sop_class=valid_uid(_value(item, SOP_CLASS), "SOPClassUID"),
                )
                found[ref.instance] = ref
        return list(found.values())

    def holds(self, ref: ObjectRef) -> bool:
        """See `Archive`."""
        with _translated():
            rows = self._client.search_for_instances(
                ref.study, ref.series, search_filters={"SOPInstanceUID": ref.instance}
            )
            return any(_value(row, INSTANCE) == ref.instance for row in rows)

    def retrieve(self, ref: ObjectRef) -> Dataset:
        """See `Archive`."""
        url = f"{self._url}/studies/{ref.study}/series/{ref.series}/instances/{ref.instance}"
        with _translated():
            # not the client's own method, which inflates what is deflated
            answer = self._session.get(url, headers={"Accept": AS_STORED}, timeout=TIMEOUT)
            answer.raise_for_status()
            return opened(_first_part(answer.headers.get("Content-Type", ""), answer.content))

    def store(self, dataset: Dataset) -> None:
        """See `Archive`."""
        with _translated():
            answer = self._client.store_instances([dataset])
            failed = list(answer.get("FailedSOPSequence") or [])
            reason = int(failed[0].get("FailureReason") or 0) if failed else 0
        if failed:
            raise TransferError(
                f"PACS refused to store the object (failure reason 0x{reason:04X})",
                transient=reason in OUT_OF_RESOURCES,
            )

    def _pages(self, key: str, search: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """All rows of a search. A server may send fewer than it was asked for, so only an empty page is the last."""
        rows: dict[object, dict[str, Any]] = {}
        asked = 0
        with _translated():
            while True:
                page = search(limit=PAGE, offset=asked)
                fresh = {_value(row, key): row for row in page if _value(row, key) not in rows}
                if not fresh:  # also of a server that knows no offset and sends the first page again
                    return list(rows.values())
                rows |= fresh
                asked += len(page)


def _value(row: dict[str, Any], tag: str) -> Any:
    """The first value of an attribute in DICOM JSON; None where it has none."""
    values = row.get(tag, {}).get("Value") or [None]
    return values[0]


def _first_part(kind: str, content: bytes) -> bytes:
    """The file in an answer of several parts, or of one.

    Raises:
        ValueError: if a mark is missing: the answer broke off.
    """
    header = Message()
    header["Content-Type"] = kind
    if header.get_content_type() == "application/dicom":
        return content
    mark = b"--" + str(header.get_boundary("")).encode()
    start = content.index(b"\r\n\r\n", content.index(mark)) + 4
    return content[start : content.index(b"\r\n" + mark, start)]


@contextmanager
def _translated() -> Iterator[None]:
    """What the client raises as `TransferError`, without its texts: they quote addresses with UIDs in them."""
    import requests

    try:
        yield
    except TransferError:
        raise
    except requests.HTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        if code in (401, 403):
            raise TransferError(
                f"PACS refused access (HTTP {code}): set MONAI_CAVGA_PACS_USER and MONAI_CAVGA_PACS_PASSWORD",
                transient=False,
            ) from error
        raise TransferError(f"PACS answered HTTP {code}", transient=code in LATER) from error
    except requests.exceptions.SSLError as error:
        raise TransferError("no TLS connection to the PACS: is its certificate in --ca?", transient=False) from error
    except requests.Timeout as error:
        raise TransferError("PACS did not answer in time", transient=True) from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise TransferError("no connection to the PACS, or it broke off", transient=True) from error
    except Exception as error:  # the answer is foreign data: parsing it may fail in any way
        raise TransferError(f"answer of the PACS cannot be read ({type(error).__name__})", transient=True) from error
