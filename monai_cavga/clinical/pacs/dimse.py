"""A PACS over DIMSE (C-FIND, C-GET, C-STORE), through pynetdicom; an association for each operation."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from monai_cavga.clinical.pacs.archive import ObjectRef, Query, TransferError, valid_uid
from monai_cavga.clinical.pacs.content import opened

__all__ = ["DimseArchive", "tls_context"]

FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # study root
GET = "1.2.840.10008.5.1.4.1.2.2.3"
# One context each: given several in one, a server transcodes, and fails where it cannot.
SYNTAXES = (
    *(ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless),
    *(JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless),
    *(JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K),
)
CONNECT_TIMEOUT, ANSWER_TIMEOUT = 10.0, 120.0  # seconds
PENDING, WARNINGS = (0xFF00, 0xFF01), (0xB000, 0xB006, 0xB007)
OUT_OF_RESOURCES = 0xA7
NOT_TAKEN = "PACS does not take this operation, kind of object or transfer syntax: add it to what it accepts"


def tls_context(*, ca: str | None, certificate: str | None) -> ssl.SSLContext:
    """Trusts the certificates in ``ca`` (None: the system's), checks the host's name, shows ``certificate``."""
    context = ssl.create_default_context(cafile=ca)
    if certificate:
        context.load_cert_chain(certificate)
    return context


class DimseArchive:
    """See `Archive`.

    Args:
        aet: the PACS's application entity title.
        host: its name or address.
        port: its port.
        calling: our own title.
        tls: see `tls_context`; None for no encryption.

    Raises:
        ModuleNotFoundError: if pynetdicom is not installed, with what to install.
    """

    def __init__(self, aet: str, *, host: str, port: int, calling: str, tls: ssl.SSLContext | None = None) -> None:
        try:
            import pynetdicom
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"DIMSE needs {error.name}: pip install pynetdicom") from error
        self._net = pynetdicom
        self._aet, self._host, self._port, self._calling, self._tls = aet, host, port, calling, tls

    def studies(self, query: Query) -> list[str]:
        """See `Archive`."""
        found: dict[str, None] = {}
        for modality in query.modalities:
            for row in self._find("STUDY", StudyInstanceUID="", StudyDate=query.dates, ModalitiesInStudy=modality):
                found[str(row.get("StudyInstanceUID") or "")] = None
        return list(found)

    def images(self, study: str, *, modalities: tuple[str, ...]) -> list[ObjectRef]:
        """See `Archive`."""
        found: dict[str, ObjectRef] = {}
        for row in self._find("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality=""):
            if row.get("Modality") not in modalities:
                continue
            series = valid_uid(row.get("SeriesInstanceUID"), "SeriesInstanceUID")
            for item in self._find(
                "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="", SOPClassUID=""
            ):
                ref = ObjectRef(
                    study=study,
                    series=series,
                    instance=valid_uid(item.get("SOPInstanceUID"), "SOPInstanceUID"),
                    sop_class=valid_uid(item.get("SOPClassUID"), "SOPClassUID"),
                )
                found[ref.instance] = ref
        return list(found.values())

    def holds(self, ref: ObjectRef) -> bool:
        """See `Archive`."""
        rows = self._find(
            "IMAGE", StudyInstanceUID=ref.study, SeriesInstanceUID=ref.series, SOPInstanceUID=ref.instance
        )
        return any(row.get("SOPInstanceUID") == ref.instance for row in rows)

    def retrieve(self, ref: ObjectRef) -> Dataset:
        """See `Archive`."""
        came: list[bytes] = []

        def keep(event: Any) -> int:
            came.append(event.encoded_dataset())
            return 0x0000

        contexts = [(GET, ImplicitVRLittleEndian), *((ref.sop_class, syntax) for syntax in SYNTAXES)]
        role = self._net.build_role(ref.sop_class, scp_role=True)
        handlers = [(self._net.evt.EVT_C_STORE, keep)]
        with self._association(contexts, roles=[role], handlers=handlers) as association:
            identifier = _identifier(
                "IMAGE", StudyInstanceUID=ref.study, SeriesInstanceUID=ref.series, SOPInstanceUID=ref.instance
            )
            last = None
            for status, _ in association.send_c_get(identifier, GET):
                last = status.get("Status")
        if not came:
            raise TransferError(f"PACS did not send the object ({_named(last)})", transient=True)
        with _translated():
            return opened(came[0])

    def store(self, dataset: Dataset) -> None:
        """See `Archive`."""
        with _translated():
            contexts = [(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)]
        with self._association(contexts) as association:
            status = association.send_c_store(dataset).get("Status")
        if status != 0x0000 and status not in WARNINGS:
            later = status is None or status >> 8 == OUT_OF_RESOURCES
            raise TransferError(f"PACS refused to store the object ({_named(status)})", transient=later)

    def _find(self, level: str, **keys: str) -> list[Dataset]:
        with self._association([(FIND, ImplicitVRLittleEndian)]) as association:
            rows: list[Dataset] = []
            last = None
            for status, row in association.send_c_find(_identifier(level, **keys), FIND):
                last = status.get("Status")
                if last in PENDING and row is not None:
                    rows.append(row)
        if last != 0x0000:  # rows may be missing
            raise TransferError(f"PACS broke off a query ({_named(last)})", transient=True)
        return rows

    @contextmanager
    def _association(
        self, contexts: Sequence[tuple[str, str]], *, roles: list[Any] | None = None, handlers: list[Any] | None = None
    ) -> Iterator[Any]:
        entity = self._net.AE(ae_title=self._calling)
        entity.connection_timeout = entity.acse_timeout = CONNECT_TIMEOUT
        entity.dimse_timeout = entity.network_timeout = ANSWER_TIMEOUT
        entity.maximum_pdu_size = 0  # the whole of an object in one piece where the PACS allows it
        for sop_class, syntax in contexts:
            entity.add_requested_context(sop_class, syntax)
        with _translated():
            association = entity.associate(
                self._host,
                self._port,
                ae_title=self._aet,
                ext_neg=roles,
                evt_handlers=handlers or [],
                tls_args=(self._tls, self._host) if self._tls else None,
            )
        answer = association.acceptor.primitive
        if association.is_rejected:
            raise TransferError(
                f"PACS rejected the association: does it know {self._calling}, and is it called {self._aet}?",
                transient=answer is not None and answer.result == 0x02,
            )
        if not association.is_established:
            if association.rejected_contexts:  # all of them
                raise TransferError(NOT_TAKEN, transient=False)
            hint = " (TLS: is its certificate in --ca?)" if self._tls else ""
            raise TransferError(f"no association with the PACS{hint}", transient=True)
        try:
            with _translated():
                yield association
        finally:
            if association.is_established:
                association.release()
            else:
                association.abort()


def _identifier(level: str, **keys: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def _named(status: int | None) -> str:
    return "no answer" if status is None else f"status 0x{status:04X}"


@contextmanager
def _translated() -> Iterator[None]:
    """What pynetdicom and pydicom raise as `TransferError`, without their texts, which quote values."""
    try:
        yield
    except TransferError:
        raise
    except ValueError as error:
        if "presentation context" in str(error).lower():
            raise TransferError(NOT_TAKEN, transient=False) from error
        raise TransferError("answer of the PACS cannot be read (ValueError)", transient=True) from error
    except Exception as error:  # the answer is foreign data: parsing it may fail in any way
        raise TransferError(f"answer of the PACS cannot be read ({type(error).__name__})", transient=True) from error
