"""What a data set folder holds, what is missing and what cannot be read: the work of ``check-data DIR``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, cast, get_args

from tqdm import tqdm

from monai_cavga.data import idrid, lag, mstc, mvtad, one_class, ped2
from monai_cavga.data.clips import VideoSupportError
from monai_cavga.data.errors import ImageReadError
from monai_cavga.data.layout import (
    SECTIONS,
    DatasetName,
    DatasetNotFoundError,
    Item,
    images_in,
    missing_data_message,
    natural_key,
)
from monai_cavga.data.normals import plain_normals
from monai_cavga.data.one_class import OneClassName
from monai_cavga.data.read import image_size, split_mask_files

Kind = Literal[DatasetName, OneClassName, "plain", "unknown"]
Reader = Callable[[], Sequence[Item]]
_EVERY = 5  # frame of a film clip that is looked at; clips are decoded from one to the next all the same
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


_TITLES: dict[Kind, str] = {
    "lag": "LAG layout",
    "idrid": "IDRiD layout",
    "mvtad": "MVTec AD layout",
    "ped2": "UCSD Ped2 layout",
    "mstc": "ShanghaiTech Campus layout",
    "mnist": "MNIST's layout (or Fashion-MNIST's, which is the same)",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "folder": "images in folders of classes",
    "plain": "plain folder of images, no data set's layout",
    "unknown": "no data set that this software knows",
}


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
        report.problems += [missing_data_message(name, root) for name in get_args(DatasetName)]
        return report
    try:
        _DESCRIBE[kind](report, root)
    except (ValueError, OSError) as err:
        report.problems.append(str(err))
    for section, reader in _sections(root, kind).items():
        items = _read(report, reader)
        if items:  # a reader lists at least one item or says why not
            report.sections[section] = _sizes(items)
    if decode:
        items = list(chain.from_iterable(_read(report, reader) for reader in _readers(root, kind)))
        _decode(report, items, progress=progress)
    return report


def _kind(root: Path) -> Kind:
    if lag.lag_parts(root):
        return "lag"
    if any((root / folder).is_dir() for folder in ("A. Segmentation", "B. Disease Grading")):
        return "idrid"
    if mvtad.mvtad_categories(root):
        return "mvtad"
    if mstc.is_mstc(root):
        return "mstc"
    if ped2.is_ped2(root):
        return "ped2"
    try:
        return one_class.one_class_kind(root) or ("plain" if idrid.is_plain_folder(root) else "unknown")
    except ImageReadError:  # a damaged archive, which its description names
        return "folder"


def _sections(root: Path, kind: Kind) -> dict[str, Reader]:
    """The sections of the default protocol, of each category where there are several."""
    if kind == "mvtad":
        return {
            f"{category} {section}": partial(mvtad.mvtad_items, root, section, category=category)
            for category in mvtad.mvtad_categories(root)
            for section in SECTIONS
        }
    if kind == "mstc":
        return {section: partial(mstc.mstc_items, root, section) for section in SECTIONS}
    if kind in get_args(OneClassName):
        listed = partial(one_class.one_class_items, root, dataset=cast(OneClassName, kind), normal_class=0)
        return {f"{section}, normal class 0": partial(listed, section) for section in SECTIONS}
    if kind == "plain":
        listed = partial(plain_normals, root, labelled=0, validation_fraction=0.2, seed=0)
        return {f"{section}, all taken as normal": partial(listed, section) for section in SECTIONS[:2]}
    readers: dict[str, Callable[..., Sequence[Item]]] = {
        "lag": lag.lag_items,
        "idrid": idrid.idrid_items,
        "ped2": ped2.ped2_items,
    }
    return {section: partial(readers[kind], root, section) for section in SECTIONS}


def _readers(root: Path, kind: Kind) -> list[Reader]:
    """What lists every image of the data set, whether a section uses it or not."""
    if kind == "lag":
        return [lambda: list(chain.from_iterable(lag.read_layout(root)))]
    if kind == "mvtad":
        folders = [(mvtad.category_folder(root, category), category) for category in mvtad.mvtad_categories(root)]
        readers = (mvtad.normal_items, mvtad.anomalous_items)
        return [partial(reader, *folder) for folder in folders for reader in readers]
    if kind in get_args(OneClassName):
        listed = partial(one_class.subset_items, root, dataset=cast(OneClassName, kind))
        return [partial(listed, subset) for subset in get_args(one_class.Subset)]
    if kind == "plain":
        return [partial(plain_normals, root, "training", labelled=0, validation_fraction=0.0, seed=0)]
    subsets: tuple[Literal["training", "test"], ...] = ("training", "test")
    if kind == "ped2":
        return [partial(ped2.frame_items, root, subset) for subset in subsets]
    if kind == "mstc":  # clip by clip, so that one that cannot be read hides no other
        films = [partial(mstc.training_items, clip, every=_EVERY) for clip in _clips(root, "training")]
        return [*films, *(partial(mstc.test_items, clip, every=_EVERY) for clip in _clips(root, "test"))]
    return [partial(read, root, s) for read in (idrid.segmentation_items, idrid.grading_items) for s in subsets]


def _read(report: DataReport, reader: Reader) -> Sequence[Item]:
    try:
        return reader()
    except (ValueError, OSError, VideoSupportError) as err:
        _add_once(report, str(err))
        return []


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


def _describe_mvtad(report: DataReport, root: Path) -> None:
    for category in mvtad.mvtad_categories(root):
        folder = mvtad.category_folder(root, category)
        for subset in (mvtad.TRAINING.parent, mvtad.TEST, mvtad.MASKS):
            places = sorted(path for path in (folder / subset).glob("*") if path.is_dir())
            for place in places:
                report.counts[f"{category}/{subset}/{place.name}"] = len(images_in(place))
    report.notes.append("the owners' training sets hold no anomaly: labelled ones are moved out of the test sets")


def _describe_ped2(report: DataReport, root: Path) -> None:
    for subset in ("training", "test"):
        items = ped2.frame_items(root, subset)
        for item in items:
            clip = item["patient"]
            report.counts[clip] = report.counts.get(clip, 0) + 1
    report.notes.append("labels are by frame, there are no pixel labels")


def _describe_plain(report: DataReport, root: Path) -> None:
    report.counts["images; sub-folders are not read"] = len(images_in(root))
    report.notes.append(
        "bundles/idrid runs calibrate and synthetic_training on it, if all are normal photographs of the retina; every "
        "bundle runs inference on it; to evaluate, arrange images in a data set's layout"
    )


def _clips(root: Path, subset: mstc.Subset) -> list[mstc.Clip]:
    try:
        return mstc.list_clips(root, subset)
    except DatasetNotFoundError:  # the section says so
        return []


def _describe_mstc(report: DataReport, root: Path) -> None:
    for subset in get_args(mstc.Subset):
        for clip in _clips(root, subset):
            scene = f"{subset} clips of scene {clip.scene}"
            report.counts[scene] = report.counts.get(scene, 0) + 1
    report.notes.append(f"images are frames 0, {_EVERY}, {2 * _EVERY} and so on of each clip, the paper's mSTC")


def _describe_classes(report: DataReport, root: Path) -> None:
    for subset in get_args(one_class.Subset):
        for each in one_class.class_images(root, subset, dataset=cast(OneClassName, report.kind)):
            key = f"{subset}/{each.class_name}"
            report.counts[key] = report.counts.get(key, 0) + 1
    report.counts = dict(sorted(report.counts.items(), key=lambda each: natural_key(each[0])))
    report.notes.append("each class in turn counts as normal; there are no pixel labels")


_DESCRIBE: dict[Kind, Callable[[DataReport, Path], None]] = {
    **dict.fromkeys(get_args(OneClassName), _describe_classes),
    "lag": _describe_lag,
    "idrid": _describe_idrid,
    "mvtad": _describe_mvtad,
    "ped2": _describe_ped2,
    "mstc": _describe_mstc,
    "plain": _describe_plain,
}


def _decode(report: DataReport, items: Sequence[Item], *, progress: bool) -> None:
    for item in tqdm(items, desc="check-data", unit="image") if progress else items:
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
