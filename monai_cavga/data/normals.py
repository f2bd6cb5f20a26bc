"""A flat folder of normal images, of one's own: no layout, no labels, nothing to test on."""

from __future__ import annotations

from pathlib import Path

from monai_cavga.data.layout import Item, Labelled, Section, images_in, split_training

__all__ = ["plain_normals"]


def plain_normals(
    folder: Path, section: Section, *, labelled: Labelled, validation_fraction: float, seed: int
) -> list[Item]:
    """List one section of a folder whose images are all normal; images in its sub-folders are not looked at.

    Args:
        folder: holds the images.
        section: "training", "validation", or "test", which is empty.
        labelled: anomalous training images, of which there are none: 0.
        validation_fraction: share held out, in [0, 1).
        seed: of the draw.

    Returns:
        Items in natural order, named such as ``normal_photograph_7``.

    Raises:
        ValueError: if ``labelled`` is not 0, or a section but the test would be empty.
    """
    if labelled:
        raise ValueError(
            f"labelled is {labelled}, and {folder} is a plain folder, whose images are taken as normal, expected 0: "
            "arrange anomalous images in the data set's layout"
        )
    if section == "test":
        return []
    items = [
        Item(image=str(image.absolute()), label=0, mask_files="", name=f"normal_{stem}")
        for stem, image in images_in(folder).items()
    ]
    return split_training(items, section, validation_fraction=validation_fraction, seed=seed, groups="normal images")
