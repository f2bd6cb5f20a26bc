"""Dictionary transforms that take one key."""

from __future__ import annotations

from monai.transforms import MapTransform

__all__ = ["check_one_key"]


def check_one_key(transform: MapTransform, what: str) -> None:
    """Refuse a transform that was given several keys.

    Args:
        transform: its ``keys`` are counted and its class is named.
        what: what one key would be, such as "one image key".

    Raises:
        ValueError: unless there is exactly one key.
    """
    if len(transform.keys) != 1:
        raise ValueError(f"keys is {transform.keys}, expected {what}: use one {type(transform).__name__} for each")
