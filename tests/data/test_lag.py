from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monai_cavga.data import DatasetNotFoundError, lag_items
from monai_cavga.data.lag import training_count

MakeLag = Callable[..., Path]


def names(items: list) -> list[str]:  # type: ignore[type-arg]
    return [item["name"] for item in items]


def test_sections_are_disjoint_and_complete(make_lag: MakeLag) -> None:
    root = make_lag(normal=10, anomalous=4)
    training, validation, test = (lag_items(root, s, labelled=3, seed=1) for s in ("training", "validation", "test"))
    # hand: 20 normals, round(20 * 2632 / 3432) = 15 train, of which round(0.2 * 15) = 3 validate; 8 anomalous
    assert [len(training), len(validation), len(test)] == [12 + 3, 3, 5 + 5]
    assert sum(item["label"] for item in training) == 3
    assert sum(item["label"] for item in validation) == 0
    assert sum(item["label"] for item in test) == 5
    everything = names(training) + names(validation) + names(test)
    assert len(set(everything)) == 28  # parts repeat stems, names do not


def test_items(make_lag: MakeLag) -> None:
    root = make_lag()
    for item in lag_items(root, "test"):
        assert Path(item["image"]).is_absolute()
        assert Path(item["image"]).is_file()
        if item["label"]:
            mask = Path(item["mask_files"])
            assert mask.parts[-2:] == ("attention_map", f"{Path(item['image']).stem}.png")
            assert mask.parts[-4] == Path(item["image"]).parts[-4]  # of the same part
        else:
            assert item["mask_files"] == ""


def test_natural_order_and_seed(make_lag: MakeLag) -> None:
    root = make_lag(normal=12)
    training = names(lag_items(root, "training", validation_fraction=0))
    assert training == sorted(training, key=lambda n: [int(p) for p in n.split("_") if p.isdigit()])
    assert training == names(lag_items(root, "training", validation_fraction=0))
    assert training != names(lag_items(root, "training", validation_fraction=0, seed=1))


def test_anomalous_image_without_attention_map_has_no_pixel_labels(make_lag: MakeLag) -> None:
    root = make_lag()
    (root / "LAG_database_part_2/suspicious_glaucoma/attention_map/1.png").unlink()
    (item,) = [i for i in lag_items(root, "test") if i["name"] == "part_2_suspicious_glaucoma_1"]
    assert item["mask_files"] == ""


@pytest.mark.parametrize(("there_are", "train"), [(3432, 2632), (4000, 2632), (3143, 2410), (60, 46)])
def test_training_count(there_are: int, train: int) -> None:
    assert training_count(there_are) == train  # hand: 3143 * 2632 / 3432 = 2410.4; 60 * 0.7669 = 46.01


def test_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "LAG_database_part_1").mkdir()
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DatasetNotFoundError, match=r"smilell/AG-CNN.*phantoms DIR"):
            lag_items(folder, "training")


def test_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "LAG_database_part_1/non_glaucoma/image").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no images in .*non_glaucoma/image"):
        lag_items(tmp_path, "training")


def test_bad_options(make_lag: MakeLag) -> None:
    root = make_lag(normal=2, anomalous=1)
    with pytest.raises(ValueError, match="labelled is 3, expected 0 to 2"):
        lag_items(root, "test", labelled=3)
    with pytest.raises(ValueError, match="leaves none for validation"):
        lag_items(root, "validation", validation_fraction=0)
    with pytest.raises(ValueError, match="training_normals is 0"):
        lag_items(root, "training", training_normals=0)
