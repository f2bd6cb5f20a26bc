"""What a training learns from, said in one word and held against the options that make it so."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["SUPERVISION", "check_supervision"]

SUPERVISION = ("synthetic", "mixed", "weak")


def check_supervision(supervision: str, *, labelled: float | Sequence[str], made_fraction: float) -> None:
    """Refuse options that are not the supervision they are called.

    Args:
        supervision: ``"synthetic"`` made anomalies alone; ``"mixed"`` labelled anomalous images beside them; ``"weak"``
            labelled ones alone.
        labelled: number of labelled anomalous images, their share, or their names.
        made_fraction: share of the normal images that become anomalous, in [0, 1].

    Raises:
        ValueError: for another word, and for options that do not fit it, with the option to pass.
    """
    if supervision == "none":
        raise ValueError(
            "supervision is 'none', which made anomalies are not: the paper's training without labels is `run training`"
        )
    if supervision not in SUPERVISION:
        raise ValueError(f"supervision is {supervision!r}, expected one of {', '.join(map(repr, SUPERVISION))}")
    if not 0 <= made_fraction <= 1:
        raise ValueError(f"made_fraction is {made_fraction}, expected 0 to 1: the share of normals made anomalous")
    count = labelled if isinstance(labelled, (int, float)) else len(labelled)
    said = f"supervision is {supervision!r}"
    if supervision == "synthetic" and count > 0:
        raise ValueError(f"{said} and labelled {labelled}: pass --supervision mixed, or --labelled 0")
    if supervision != "synthetic" and count <= 0:
        raise ValueError(f"{said} and labelled {labelled}: pass --labelled N, or --supervision synthetic")
    if supervision == "synthetic" and made_fraction == 0:
        raise ValueError(f"{said} and made_fraction 0, which leaves no anomaly: pass a --made_fraction above 0")
    if supervision == "weak" and made_fraction > 0:
        raise ValueError(f"{said} and made_fraction {made_fraction}: pass --made_fraction 0, or --supervision mixed")
