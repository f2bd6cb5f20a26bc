"""How to reach an archive: plain values that travel to other machines, and credentials that do not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from monai_cavga.clinical.pacs.archive import Archive

__all__ = ["PASSWORD", "USER", "Connection"]

USER, PASSWORD = "MONAI_CAVGA_PACS_USER", "MONAI_CAVGA_PACS_PASSWORD"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Where the PACS is; either ``url`` or ``aet``, ``host`` and ``port``.

    Attributes:
        url: of the DICOMweb service.
        aet: application entity title of the PACS, for DIMSE.
        host: its name or address.
        port: its port.
        calling: our own title.
        tls: whether DIMSE is encrypted.
        ca: file of certificates to trust; None: the system's.
        certificate: file with our certificate and its key; None for none.

    Raises:
        ValueError: if both or neither way is given, or a part of one is missing or malformed.
        FileNotFoundError: if a file of certificates is not there.
    """

    url: str = ""
    aet: str = ""
    host: str = ""
    port: int = 0
    calling: str = "MONAI_CAVGA"
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.aet):
            raise ValueError("how is the PACS reached? give either --url (DICOMweb) or --aet, --host, --port (DIMSE)")
        if self.aet and not (self.host and 0 < self.port < 65536):
            raise ValueError("--aet needs --host and --port (1 to 65535) of the PACS")
        for option, title in (("--aet", self.aet), ("--calling", self.calling)):
            if len(title) > 16 or "\\" in title or not title.isascii() or not title.isprintable():
                raise ValueError(f"{option} is {title!r}, expected at most 16 ASCII characters without backslash")
        for option, path in (("--ca", self.ca), ("--cert", self.certificate)):
            if path is not None and not path.is_file():
                raise FileNotFoundError(f"{option} {path} is not a file")
        if self.aet and (self.ca or self.certificate) and not self.tls:
            raise ValueError("--ca and --cert do nothing over DIMSE without --tls")

    @property
    def address(self) -> str:
        """Names the archive in a journal's keys."""
        return self.url or f"{self.aet}@{self.host}:{self.port}"

    def open(self) -> Archive:
        """The archive, with the credentials of this process's environment.

        Raises:
            ValueError: if the address is malformed or would give the password away, or a certificate cannot be read.
            ModuleNotFoundError: if the protocol's library is not installed.
        """
        certificate = str(self.certificate) if self.certificate else None
        if self.url:
            from monai_cavga.clinical.pacs.dicomweb import DicomWebArchive, checked_url

            user, password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
            url = checked_url(self.url, with_password=bool(user))
            return DicomWebArchive(url, user=user, password=password, ca=self.ca, certificate=self.certificate)
        from monai_cavga.clinical.pacs.dimse import DimseArchive, tls_context

        try:
            tls = tls_context(ca=str(self.ca) if self.ca else None, certificate=certificate) if self.tls else None
        except OSError as error:  # ssl.SSLError is one
            raise ValueError("--ca or --cert cannot be read, expected PEM files, the second with its key") from error
        return DimseArchive(self.aet, host=self.host, port=self.port, calling=self.calling, tls=tls)
