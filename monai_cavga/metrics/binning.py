"""Bins for float scores of any range, from the ordered bit pattern: no range needed, order kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["DEFAULT_BITS", "bin_lower_edge", "check_bits", "finite_bins", "item_histograms", "score_bins"]

DEFAULT_BITS = 18  # 1 sign, 8 exponent, 9 mantissa bits: scores that differ by more than 0.2 % are told apart
_MIN_BITS, _MAX_BITS = 10, 24
_SIGN_MASK = 0x7FFFFFFF
_EXPONENT_ALL_ONES = 255  # the exponent of infinities and NaNs


def check_bits(bits: int) -> int:
    """Return ``bits`` if it is usable.

    Args:
        bits: number of leading bits of a float32 that name its bin, in [10, 24].

    Raises:
        ValueError: if ``bits`` is outside [10, 24].
    """
    if not _MIN_BITS <= bits <= _MAX_BITS:
        raise ValueError(
            f"bits is {bits}, expected {_MIN_BITS} to {_MAX_BITS}: fewer blur the scores, more need over 256 MiB"
        )
    return bits


def score_bins(scores: Tensor, *, bits: int = DEFAULT_BITS) -> Tensor:
    """Number of the bin of every score; a higher score never has a lower number.

    The bits of a float32, read as an integer, already ascend with a positive value; flipping all but the sign makes
    the negative ones ascend too. The leading ``bits`` of that integer are the bin: relative width ``2**-(bits - 9)``.

    Args:
        scores: any shape, any float type (computed in float32), any range. ``-0.0`` and ``0.0`` share a bin.
        bits: in [10, 24].

    Returns:
        int64, shape of ``scores``, in ``[0, 2**bits)``. Infinities and NaNs fall outside :func:`finite_bins`.

    Raises:
        ValueError: if ``bits`` is outside [10, 24].
    """
    check_bits(bits)
    key = (scores.float() + 0.0).view(torch.int32)  # adding 0.0 turns -0.0 into 0.0 and makes a copy to work in
    flip = key >> 31  # -1 where negative
    flip &= _SIGN_MASK
    key ^= flip
    key >>= 32 - bits
    key += 1 << (bits - 1)
    return key.long()


def finite_bins(bits: int) -> tuple[int, int]:
    """First bin and one past the last bin that hold finite scores."""
    middle = 1 << (bits - 1)
    reach = _EXPONENT_ALL_ONES << (bits - 9)
    return middle - reach, middle + reach


def bin_lower_edge(index: int, *, bits: int = DEFAULT_BITS) -> float:
    """Lowest score in a bin; ``score >= edge`` selects that bin and all above it.

    Args:
        index: number of a finite bin.
        bits: as given to :func:`score_bins`.

    Raises:
        ValueError: if the bin holds no finite score.
    """
    low, high = finite_bins(check_bits(bits))
    if not low <= index < high:
        raise ValueError(f"bin {index} holds no finite score, expected {low} to {high - 1} with {bits} bits")
    key = np.int32((index - (1 << (bits - 1))) << (32 - bits))
    return float((key ^ np.int32(_SIGN_MASK) if key < 0 else key).view(np.float32))


def item_histograms(anomaly_map: Tensor, mask: Tensor, *, bits: int = DEFAULT_BITS, item: int = 0) -> Tensor:
    """Histograms of the scores of one image's normal and anomalous pixels.

    Args:
        anomaly_map: any shape, float, any range; higher = more anomalous.
        mask: shape of ``anomaly_map``; 1 anomalous, 0 normal, below 0 ignored (its score may then be anything).
        bits: in [10, 24].
        item: number of the image, for the messages only.

    Returns:
        ``(2, 2**bits)`` int64 on the device of ``anomaly_map``: row 0 normal, row 1 anomalous.

    Raises:
        ValueError: if the shapes differ, a label is neither 0, 1 nor negative, or a counted score is not finite.
    """
    if anomaly_map.shape != mask.shape:
        raise ValueError(
            f"item {item}: mask has shape {tuple(mask.shape)}, the anomaly map {tuple(anomaly_map.shape)}: "
            "bring the map back to the mask's size (Invertd) or resize the mask"
        )
    label = _labels(mask.to(anomaly_map.device), item=item)
    n_bins = 1 << check_bits(bits)
    # ignored pixels go to a third section that is thrown away: three times faster than selecting the others first
    section = torch.where(label < 0, 2, label).long().mul_(n_bins)
    section += score_bins(_plain(anomaly_map), bits=bits)
    counts = torch.bincount(section.reshape(-1), minlength=3 * n_bins)[: 2 * n_bins].view(2, n_bins)
    low, high = finite_bins(bits)
    bad = int(counts[:, :low].sum() + counts[:, high:].sum())
    if bad:
        raise ValueError(
            f"item {item}: {bad} counted pixels of the anomaly map are NaN or infinite, expected finite scores: "
            "look for a division by zero in the map or weights that diverged in training"
        )
    return counts


def _labels(mask: Tensor, *, item: int) -> Tensor:
    """The mask as a plain signed tensor without values other than 0, 1 and negative ones."""
    label = _plain(mask)
    label = label.to(torch.uint8) if label.dtype == torch.bool else label
    wrong = label > 1
    if label.is_floating_point():
        wrong |= label != label.round()  # also NaN
    if bool(wrong.any()):
        value = label[wrong].reshape(-1)[0].item()
        raise ValueError(
            f"item {item}: mask holds {value:g}, expected 1 anomalous, 0 normal, below 0 ignored: "
            "binarise it, e.g. (mask > 0)"
        )
    return label.to(torch.int8) if label.dtype == torch.uint8 else label


def _plain(tensor: Tensor) -> Tensor:
    """Without MONAI's MetaTensor, which costs 50 us per operation."""
    return tensor.detach().as_subclass(Tensor)
