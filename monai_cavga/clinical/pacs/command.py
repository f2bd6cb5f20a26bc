"""``python -m monai_cavga pacs``: studies of a PACS in, localisations back into it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from monai_cavga.clinical.command import add_model_arguments

__all__ = ["add_pacs_parser", "pacs"]

KINDS = ("seg", "seg_binary", "sr", "capture")


def add_pacs_parser(commands: Any) -> None:
    """Add the command to ``argparse``'s sub-parsers."""
    parser = commands.add_parser(
        "pacs",
        help="localise studies of a PACS and store the results back, over DICOMweb or DIMSE",
        usage="%(prog)s --bundle DIR --state DIR (--url URL | --aet AET --host HOST --port PORT) "
        "(--dates D | --studies UID [UID ...]) [options]",
        description="Query a PACS, retrieve the photographs, localise them, store the objects back and read them back. "
        "May be killed and started again at any time: nothing is stored twice and nothing is left out.",
        epilog="User and password come from MONAI_CAVGA_PACS_USER and MONAI_CAVGA_PACS_PASSWORD (DICOMweb). Exit code: "
        "0 all images are stored, 3 some are, 1 none is, 2 the command is wrong. No line holds patient data: studies "
        "are named by the first 12 characters of the SHA-256 of their UID. Anomaly relative to the training normals; "
        "research use, not for diagnosis.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--bundle", "--config", required=True, metavar="DIR", type=Path, help="bundle folder, such as bundles/idrid")
    add_model_arguments(parser)
    add("--state", required=True, metavar="DIR", type=Path, help="folder of the journal, kept between runs")
    add("--url", default="", help="of the DICOMweb service, such as https://pacs/dicom-web")
    add("--aet", default="", help="DIMSE: application entity title of the PACS")
    add("--host", default="", help="DIMSE: its name or address")
    add("--port", type=int, default=0, help="DIMSE: its port")
    add("--calling", metavar="AET", default="MONAI_CAVGA", help="DIMSE: our own title (default: MONAI_CAVGA)")
    add("--tls", action="store_true", help="DIMSE: encrypted; https is always")
    add("--ca", metavar="F", type=Path, help="PEM file of the certificates to trust in place of the system's")
    add("--cert", metavar="F", type=Path, help="PEM file with our own certificate and its key")
    add("--dates", metavar="D", default="", help="study dates, YYYYMMDD or YYYYMMDD-YYYYMMDD")
    add("--studies", metavar="UID", nargs="+", default=[], help="Study Instance UIDs")
    add("--modality", metavar="M", nargs="+", default=["OP"], help="of the photographs (default: OP)")
    add("--limit", metavar="N", type=int, help="at most so many studies")
    add("--write", metavar="KIND", nargs="+", choices=KINDS, default=["seg", "sr"], help=f"some of {', '.join(KINDS)}")
    add("--retries", metavar="N", type=int, default=4, help="further tries of what may pass (default: 4)")
    add("--wait", metavar="S", type=float, default=1.0, help="seconds before the second try, then doubled (default: 1)")
    add("--ray", metavar="ADDRESS", help="process the studies on this Ray cluster; local: on one of this machine")


def pacs(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: as `add_pacs_parser` parses them.

    Returns:
        Exit code, see `run_pacs`.

    Raises:
        FileNotFoundError: if the bundle, a file of it or a certificate does not exist.
        ValueError: if an option or the bundle cannot be used.
        ModuleNotFoundError: if a library is not installed, with what to install.
    """
    from monai_cavga.clinical.pacs.archive import Query
    from monai_cavga.clinical.pacs.options import Connection
    from monai_cavga.clinical.pacs.retry import Retry

    query = Query(
        studies=tuple(args.studies), dates=args.dates, modalities=tuple(dict.fromkeys(args.modality)), limit=args.limit
    )
    connection = Connection(
        url=args.url,
        aet=args.aet,
        host=args.host,
        port=args.port,
        calling=args.calling,
        tls=args.tls,
        ca=args.ca and args.ca.absolute(),
        certificate=args.cert and args.cert.absolute(),
    )
    retry = Retry(times=args.retries, wait=args.wait)
    connection.open()  # what is wrong with it is said before the model is loaded; nothing is sent

    from monai_cavga.clinical.pacs.bundle import BundleLocaliser
    from monai_cavga.clinical.pacs.run import run_pacs
    from monai_cavga.clinical.pacs.study import Work

    localiser = BundleLocaliser(
        bundle=args.bundle.absolute(),  # a cluster's process may start in another folder
        kinds=tuple(dict.fromkeys(args.write)),
        model_file=args.model_file and args.model_file.absolute(),
        calibration_file=args.calibration_file and args.calibration_file.absolute(),
        backend=args.backend,
    )
    work = Work(localise=localiser, recipe=localiser.recipe, modalities=query.modalities, retry=retry)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    return run_pacs(connection, query, work=work, state=args.state, say=say, cluster=args.ray)
