"""What a data set folder holds, what is missing and what cannot be read: the work of ``check-data DIR``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from monai_cavga.data import idrid, lag
from monai_cavga.data.layout import SECTIONS, Item, images_in, missing_data_message
from monai_cavga.data.read import ImageReadError, image_size, split_mask_files

Kind = Literal["lag", "idrid", "unknown"]
_SHOWN = 20  # problems of one report that are printed


@dataclass
class DataReport:
    """The findings about one folder; ``ok`` is False when anything would stop or falsify a run."""

    dataset_dir: str
    kind: Kind
    counts: dict[str, int] = field(default_factory=dict)  # folder or file kind -> number of images
    sections: dict[str, str] = field(default_factory=dict)  # section -> sizes under the protocol
    notes: list[str] = field(default_factory=list)  # worth knowing, no obstacle
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems

    @property
    def exit_code(self) -> int:
        """0 when nothing is wrong, otherwise 1."""
        return 0 if self.ok else 1

    def text(self) -> str:
        """The report as lines to print."""
        lines = [f"{self.dataset_dir}: {_TITLES[self.kind]}"]
        lines += [f"  {count:6d}  {name}" for name, count in self.counts.items()]
        lines += [f"  {section}: {sizes}" for section, sizes in self.sections.items()]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  PROBLEM: {problem}" for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"  ... and {len(self.problems) - _SHOWN} more problems")
        lines.append("ok" if self.ok else f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''} found")
        return "\n".join(lines)


_TITLES = {"lag": "LAG layout", "idrid": "IDRiD layout", "unknown": "no data set that this software knows"}


def check_data(dataset_dir: str | os.PathLike[str], *, decode: bool = True, progress: bool = True) -> DataReport:
    """Examine a folder: layout, counts, section sizes under the default protocol, unreadable files, mask sizes.

    Args:
        dataset_dir: the folder given to a bundle as ``dataset_dir``.
        decode: decode every file completely (the only way to find a truncated JPEG); False looks at names only.
        progress: show a progress bar while files are decoded.

    Returns:
        The findings; this function raises nothing for a bad data set.
    """
    root = Path(dataset_dir)
    kind = _kind(root)
    report = DataReport(str(root), kind)
    if kind == "unknown":
        report.problems += [missing_data_message("lag", root), missing_data_message("idrid", root)]
        return report
    for listing in (_describe_lag if kind == "lag" else _describe_idrid, _describe_sections):
        try:
            listing(report, root)
        except (ValueError, OSError) as err:
            report.problems.append(str(err))
    if decode:
        _decode(report, _all_items(report, root, kind), progress=progress)
    return report


def _kind(root: Path) -> Kind:
    if lag.lag_parts(root):
        return "lag"
    if any((root / folder).is_dir() for folder in ("A. Segmentation", "B. Disease Grading")):
        return "idrid"
    return "unknown"


def _describe_sections(report: DataReport, root: Path) -> None:
    for section in SECTIONS:
        try:
            items = lag.lag_items(root, section) if report.kind == "lag" else idrid.idrid_items(root, section)
        except (ValueError, OSError) as err:
            _add_once(report, str(err))
        else:
            report.sections[section] = _sizes(items)


def _add_once(report: DataReport, problem: str) -> None:
    if problem not in report.problems:
        report.problems.append(problem)


def _sizes(items: Sequence[Item]) -> str:
    normal = sum(item["label"] == 0 for item in items)
    masked = sum(item["label"] == 1 and bool(item["mask_files"]) for item in items)
    return f"{normal} normal, {len(items) - normal} anomalous ({masked} with masks)"


def _describe_lag(report: DataReport, root: Path) -> None:
    for part in lag.lag_parts(root):
        for folder in (lag.NORMAL_FOLDER, lag.ANOMALOUS_FOLDER):
            needed = ["image"] + (["attention_map"] if folder == lag.ANOMALOUS_FOLDER else [])
            stems: dict[str, set[str]] = {}
            for kind in needed:
                place = part / folder / kind
                if not place.is_dir():
                    report.problems.append(f"missing folder: {place}")
                stems[kind] = set(images_in(place))
                report.counts[f"{part.name}/{folder}/{kind}"] = len(stems[kind])
            if folder == lag.ANOMALOUS_FOLDER:
                unmasked, lost = len(stems["image"] - stems["attention_map"]), stems["attention_map"] - stems["image"]
                if unmasked:
                    report.notes.append(
                        f"{part.name}: {unmasked} anomalous images without attention map (no pixel labels)"
                    )
                if lost:
                    report.problems.append(
                        f"{part.name}: {len(lost)} attention maps without image, such as {min(lost)}"
                    )


def _describe_idrid(report: DataReport, root: Path) -> None:
    for subset in idrid.SUBSET_FOLDERS.values():
        for images in (idrid.SEGMENTATION_IMAGES, idrid.GRADING_IMAGES):
            _count_folder(report, root, images / subset)
        for lesion in idrid.LESIONS.values():
            _count_folder(report, root, idrid.SEGMENTATION_MASKS / subset / lesion)
    if not (root / idrid.PAIRS).is_file():
        report.notes.append(f"no {idrid.PAIRS}: photographs in both parts are told apart by a built-in list")


def _count_folder(report: DataReport, root: Path, relative: Path) -> None:
    if not (root / relative).is_dir():
        report.problems.append(f"missing folder: {root / relative}")
    report.counts[relative.as_posix()] = len(images_in(root / relative))


def _all_items(report: DataReport, root: Path, kind: Kind) -> list[Item]:
    """Every image of the data set that can be listed, whether a section uses it or not."""
    items: list[Item] = []
    readers: list[Callable[[], list[Item]]] = (
        [lambda: list(chain.from_iterable(lag.read_layout(root)))]
        if kind == "lag"
        else [
            lambda: idrid.segmentation_items(root, "training"),
            lambda: idrid.segmentation_items(root, "test"),
            lambda: idrid.grading_items(root, "training"),
            lambda: idrid.grading_items(root, "test"),
        ]
    )
    for reader in readers:
        try:
            items += reader()
        except (ValueError, OSError) as err:
            _add_once(report, str(err))
    return items


def _decode(report: DataReport, items: Sequence[Item], *, progress: bool) -> None:
    for item in tqdm(items, desc="check-data", unit="image", disable=not progress):
        try:
            size = image_size(item["image"])
        except ImageReadError as err:
            report.problems.append(str(err))
            continue
        for mask in split_mask_files(item["mask_files"]):
            try:
                mask_size = image_size(mask)
            except ImageReadError as err:
                report.problems.append(str(err))
                continue
            if mask_size != size:
                report.problems.append(
                    f"mask {mask} is {mask_size[0]} x {mask_size[1]} (H x W), expected {size[0]} x {size[1]} "
                    f"as image {item['image']}"
                )
