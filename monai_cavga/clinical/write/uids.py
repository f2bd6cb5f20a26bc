"""Unique identifiers that follow from what an object is, so that writing it again gives the same object."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydicom.uid import generate_uid

import monai_cavga
from monai_cavga.clinical.records import ModelIdentity

Kind = Literal["FRACTIONAL", "BINARY", "SR", "CAPTURE"]

__all__ = ["Kind", "derive_uid", "object_uid"]


def derive_uid(*parts: str) -> str:
    """A UID of at most 64 characters that depends on the parts, their number and their order, and on nothing else.

    Args:
        parts: what is identified; they are hashed as one text, because pydicom joins sources without a separator.
    """
    text = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return str(generate_uid(entropy_srcs=[text]))


def object_uid(
    source_uid: str, model: ModelIdentity, *, threshold: float, kind: Kind, options: tuple[str, ...] = ()
) -> str:
    """The SOP Instance UID of the object that `monai_cavga` writes of a source, known before anything is computed.

    It depends on the source's UID, not on its bytes: an archive may store an image in another transfer syntax under
    the same UID. It depends on the release of this package, whose name is written into the object.

    Args:
        source_uid: SOP Instance UID of the source image.
        model: what localises it.
        threshold: of the map, as in `Localisation`.
        kind: what is written.
        options: what else decides about the object's content: for a report, the UID of the segmentation it refers to.
    """
    parts = (*model.parts, repr(float(threshold)))
    return derive_uid("instance", monai_cavga.__version__, source_uid, *parts, kind, *options)
