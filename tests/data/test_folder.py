"""A plain folder of photographs: which files, in which order, under which names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cavga.data.folder import folder_items
from monai_cavga.data.read import read_image


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((3, 5, 3), 128, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("eye 10.png", "eye 2.JPG", "eye 1.tiff", "left/b.bmp", "left/a.jpeg", ".hidden.png", ".trash/c.png"):
        _picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def test_images_in_natural_order(folder: Path) -> None:
    items = folder_items(folder)
    assert [item["name"] for item in items] == ["eye 1", "eye 2", "eye 10", "left/a", "left/b"]
    assert [Path(item["image"]).name for item in items] == ["eye 1.tiff", "eye 2.JPG", "eye 10.png", "a.jpeg", "b.bmp"]
    assert all(set(item) == {"image", "name"} for item in items)


def test_every_image_listed_can_be_read(folder: Path) -> None:
    assert all(read_image(item["image"]).shape == (3, 5, 3) for item in folder_items(str(folder)))


def test_paths_are_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    items = folder_items(folder.name)
    assert all(Path(item["image"]).is_absolute() and Path(item["image"]).is_file() for item in items)
    assert items == folder_items(folder)


def test_a_hidden_place_above_the_folder_does_not_matter(tmp_path: Path) -> None:
    _picture(tmp_path / ".cache" / "eyes" / "a.png")
    assert [item["name"] for item in folder_items(tmp_path / ".cache" / "eyes")] == ["a"]


@pytest.mark.parametrize("name", ["nowhere", "file.png"])
def test_no_folder(tmp_path: Path, name: str) -> None:
    _picture(tmp_path / "file.png")
    with pytest.raises(ValueError, match=rf"dataset_dir is '.*{name}', expected a folder of images: there is none"):
        folder_items(tmp_path / name)


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"no images in '.*', expected PNG, JPEG, BMP or TIFF files in it or below it"):
        folder_items(tmp_path)
