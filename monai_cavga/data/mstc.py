"""ShanghaiTech Campus, surveillance of 13 scenes with bicycles, vehicles and fights as anomalies, as single images.

The owners' layout (Luo, Liu, Gao: A Revisit of Sparse Coding Based Anomaly Detection, ICCV 2017):
``training/videos/01_001.avi`` or, unpacked, ``training/frames/01_001/000.jpg``; ``testing/frames/01_0014/000.jpg`` with
``testing/test_frame_mask/01_0014.npy`` (T) and ``testing/test_pixel_mask/01_0014.npy`` (T, H, W or H, W, T). The scene
is the number before the underscore. Every fifth frame without its neighbours in time is the paper's mSTC.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from monai_cavga.data.clips import clip_length
from monai_cavga.data.errors import read_error
from monai_cavga.data.frames import CLIP_SUFFIXES, Frame, frames_are_last, open_stack
from monai_cavga.data.layout import (
    DatasetNotFoundError,
    FrameItem,
    Item,
    Labelled,
    Section,
    check_options,
    draw_labelled,
    images_in,
    missing_data_message,
    natural_key,
    split_training,
)
from monai_cavga.data.read import image_size

Subset = Literal["training", "test"]
Scene = int | str

OWNERS_NAME = "shanghaitech"
FOLDERS: dict[Subset, Path] = {"training": Path("training"), "test": Path("testing")}
FRAMES, VIDEOS, FRAME_MASKS, PIXEL_MASKS = Path("frames"), Path("videos"), "test_frame_mask", "test_pixel_mask"
ALL = "all"
_CLIP = re.compile(r"(\d+)_\d+")


@dataclass(frozen=True)
class Clip:
    """A film clip, or a folder of its frames."""

    name: str
    path: Path

    @property
    def scene(self) -> int:
        """The number before the underscore."""
        return int(self.name.partition("_")[0])

    def frames(self) -> list[str]:
        """Paths of all frames, in their order.

        Raises:
            ImageReadError: if a film clip cannot be opened.
            ValueError: if there is no frame, or one in the middle is missing.
            VideoSupportError: for a film clip, if PyAV is not installed.
        """
        if not self.path.is_dir():
            return [str(Frame(str(self.path), index)) for index in range(clip_length(self.path))]
        images = images_in(self.path)
        if not images:
            raise ValueError(f"no frames in {self.path}, expected 000.jpg and so on: copy the clip again")
        for stem, following in zip(images, [*images][1:], strict=False):
            if not (stem + following).isdecimal() or int(following) != int(stem) + 1:
                raise ValueError(
                    f"{self.path} has frame {following} after {stem}, expected numbers without a gap, or masks would "
                    "belong to other frames: copy the clip again"
                )
        return [str(image) for image in images.values()]


def mstc_items(
    dataset_dir: str | os.PathLike[str],
    section: Section,
    *,
    scene: Scene = ALL,
    every: int = 5,
    labelled: Labelled = 0,
    validation_fraction: float = 0.2,
    seed: int = 0,
) -> list[FrameItem]:
    """List one section of mSTC: every fifth frame of each clip.

    Training clips are all normal; validation holds out whole ones, by seed. A frame of a film clip is listed as
    ``01_001.avi#frame=25`` and decoded when it is read (`monai_cavga.data.frames`); where a clip is unpacked too, its
    images are taken. ``labelled`` anomalous test frames join the training section and leave the test section, as the
    paper's weak setting has it: their neighbours stay in the test section, which flatters its numbers (say so).

    Args:
        dataset_dir: the folder that holds ``training`` and ``testing``, or ``shanghaitech`` with them.
        section: "training", "validation" or "test". Give all three the same options.
        scene: a number, or "all"; the paper trains on one scene at a time.
        every: 5 takes frames 0, 5, 10 and so on of each clip.
        labelled: number of anomalous training images; below 1 the fraction of the test anomalies, rounded to at least
            one image (the paper's weak setting: 0.02); or their names; 0 = unsupervised.
        validation_fraction: share of the training clips held out, in [0, 1).
        seed: of both draws.

    Returns:
        Items clip by clip in natural order, named such as ``training_01_001_025`` and ``test_01_0014_025``. Without
        pixel masks anomalous frames have no ``mask_files``; without frame labels the pixel masks are read for them.

    Raises:
        DatasetNotFoundError: if a folder that the section needs is not there, or has no clip of the scene.
        ImageReadError: if a clip or a mask cannot be read, or does not fit the other.
        ValueError: if a section would be empty, a frame or mask is missing, or an option cannot be honoured.
        VideoSupportError: if the training clips are films and PyAV is not installed.
    """
    check_options(section, validation_fraction=validation_fraction, labelled=0)
    root = Path(dataset_dir)
    test: list[FrameItem] = []
    if labelled or section == "test":
        test = [item for clip in list_clips(root, "test", scene=scene) for item in test_items(clip, every=every)]
    anomalous = (item["name"] for item in test if item["label"] == 1)
    supervised = draw_labelled(anomalous, labelled, seed=seed)
    if section == "test":
        return [item for item in test if item["name"] not in supervised]
    clips = {clip.name: clip for clip in list_clips(root, "training", scene=scene)}
    part = split_training(
        [Item(image=str(clip.path), label=0, mask_files="", name=name) for name, clip in clips.items()],
        section,
        validation_fraction=validation_fraction,
        seed=seed,
        groups="training clips",
    )
    items = [item for each in part for item in training_items(clips[each["name"]], every=every)]
    if section == "training":
        items += [item for item in test if item["name"] in supervised]
    return items


def list_clips(dataset_dir: Path, subset: Subset, *, scene: Scene = ALL) -> list[Clip]:
    """The clips of one subset in natural order, none of them opened.

    Raises:
        DatasetNotFoundError: if there is no folder of clips, or no clip of the scene.
        ValueError: if ``scene`` is neither a number nor "all".
    """
    if scene != ALL and not str(scene).isdecimal():
        raise ValueError(f"scene is {scene!r}, expected a number such as 1, or {ALL!r}: correct it")
    folder = _root(dataset_dir) / FOLDERS[subset]
    found: dict[str, Path] = {}
    for path in [*_listed(folder / FRAMES), *(_listed(folder / VIDEOS) if subset == "training" else [])]:
        name = path.name if path.is_dir() else path.stem
        if _CLIP.fullmatch(name) and (path.is_dir() or path.suffix.lower() in CLIP_SUFFIXES):
            found.setdefault(name, path)  # images before films: they are read faster, and need no library
    clips = [Clip(name, found[name].absolute()) for name in sorted(found, key=natural_key)]
    wanted = [clip for clip in clips if scene == ALL or clip.scene == int(scene)]
    if not wanted:
        there = ", ".join(map(str, sorted({clip.scene for clip in clips}))) or "none"
        raise DatasetNotFoundError(
            f"{missing_data_message('mstc', dataset_dir)} (missing: {subset} clips of scene {scene}; scenes there: "
            f"{there})"
        )
    return wanted


def is_mstc(dataset_dir: Path) -> bool:
    """Whether a folder holds the layout: Ped2's copies have clips without a scene in their names."""
    try:
        return any(
            _CLIP.fullmatch(path.stem)
            for subset in FOLDERS.values()
            for part in (FRAMES, VIDEOS)
            for path in _listed(_root(dataset_dir) / subset / part)
        )
    except DatasetNotFoundError:
        return False


def training_items(clip: Clip, *, every: int) -> list[FrameItem]:
    """Every ``every``-th frame of a training clip, all normal.

    Raises:
        ImageReadError, ValueError, VideoSupportError: as `Clip.frames`.
    """
    frames = clip.frames()
    return [_item("training", clip, frames, index, label=0, mask_files="") for index in _chosen(frames, every)]


def test_items(clip: Clip, *, every: int) -> list[FrameItem]:
    """Every ``every``-th frame of a test clip with its label, and its mask where it is anomalous.

    Raises:
        ImageReadError: if a mask or the first frame cannot be read, or the masks are of other frames than the clip's.
        ValueError: as `Clip.frames`, or if the clip has neither labels nor masks.
    """
    frames = clip.frames()
    chosen = _chosen(frames, every)
    folder = clip.path.parents[1]
    labels_file, masks_file = (folder / kind / f"{clip.name}.npy" for kind in (FRAME_MASKS, PIXEL_MASKS))
    if not labels_file.parent.is_dir() and not masks_file.parent.is_dir():
        raise ValueError(f"no labels of {clip.path}, expected {labels_file} or {masks_file}: copy the data set again")
    last = False
    if masks_file.parent.is_dir():
        masks = open_stack(masks_file)
        last = frames_are_last(masks_file, masks.shape, frames=len(frames), size=image_size(frames[0]))
    if labels_file.parent.is_dir():
        labels = open_stack(labels_file)
        if labels.shape != (len(frames),):
            expected, remedy = f"{(len(frames),)}, as its clip has frames", "copy labels and frames again"
            raise read_error(labels_file, got=f"an array of shape {labels.shape}", expected=expected, remedy=remedy)
        anomalous = [bool(labels[index]) for index in chosen]
    else:
        anomalous = [bool(np.any(masks[..., index] if last else masks[index])) for index in chosen]
    items = []
    for index, label in zip(chosen, anomalous, strict=True):
        masked = label and masks_file.parent.is_dir()
        mask = str(Frame(str(masks_file), index, last_axis=last)) if masked else ""
        items.append(_item("test", clip, frames, index, label=int(label), mask_files=mask))
    return items


def _item(subset: Subset, clip: Clip, frames: Sequence[str], index: int, *, label: int, mask_files: str) -> FrameItem:
    width = max(3, len(str(len(frames) - 1)))
    return FrameItem(
        image=frames[index],
        label=label,
        mask_files=mask_files,
        name=f"{subset}_{clip.name}_{index:0{width}d}",
        patient=clip.name,
    )


def _chosen(frames: Sequence[str], every: int) -> range:
    if every < 1:
        raise ValueError(f"every is {every}, expected 1 or more: 5 is the paper's mSTC")
    return range(0, len(frames), every)


def _root(dataset_dir: Path) -> Path:
    for root in (dataset_dir, dataset_dir / OWNERS_NAME):
        if any((root / folder).is_dir() for folder in FOLDERS.values()):
            return root
    raise DatasetNotFoundError(missing_data_message("mstc", dataset_dir))


def _listed(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
