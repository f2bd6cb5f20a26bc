"""All numbers of a test set at once: each is the one its own function gives, and none crashes the others."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from monai_cavga.metrics import (
    PixelHistogram,
    RegionHistogram,
    balanced_accuracy,
    bootstrap_interval,
    image_auroc,
    image_score,
    paper_accuracy,
    sensitivity_at_specificity,
)
from monai_cavga.metrics.evaluation import Evaluation, accumulate, summarise

Item = dict[str, Any]


def _items(n: int = 12, seed: int = 0) -> list[Item]:
    """Every third image anomalous; two maps of different ranges; a field of view; sizes differ."""
    generator = torch.Generator().manual_seed(seed)
    items = []
    for number in range(n):
        size = (1, 16 + number, 30)
        fov = torch.ones(size)
        fov[:, :, :4] = 0
        mask = torch.zeros(size, dtype=torch.int8)
        label = int(number % 3 == 0)
        if label:
            mask[:, 3:7, 6:14] = 1
            mask[:, 12:14, 20:23] = 1
        attention = torch.rand(size, generator=generator) * 0.8 + 0.15 * mask
        mask[fov == 0] = -1
        items.append(
            {
                "attention": attention,
                "residual": 5 * torch.rand(size, generator=generator) - 1,
                "mask": mask,
                "fov": fov,
                "label": torch.tensor(label),
            }
        )
    return items


def _evaluated(items: list[Item], maps: tuple[str, ...] = ("attention", "residual")) -> Evaluation:
    evaluation = Evaluation(maps, image_quantile=0.9)
    for number, item in enumerate(items):
        accumulate(evaluation, item, name=f"eye {number}")
    return evaluation


def test_every_number_is_that_of_its_own_function() -> None:
    items = _items()
    report = summarise(_evaluated(items), n_resamples=50, seed=3, image_thresholds={"attention": 0.75})
    assert report["n_images"] == {"normal": 8, "anomalous": 4, "unlabelled": 0}
    assert report["settings"]["image_quantile"] == 0.9
    assert report["maps_absent"] == []
    labels = [int(item["label"]) for item in items]
    for key in ("attention", "residual"):
        row = report["maps"][key]
        pixels, regions, scores, ious = PixelHistogram(), RegionHistogram(), [], []
        for item in items:
            ious.append(pixels.update(item[key], item["mask"]).iou)
            regions.update(item[key], item["mask"])
            scores.append(image_score(item[key], fov=item["fov"], quantile=0.9))
        expected = {
            "pixel_auroc": pixels.auroc(),
            "pixel_auroc_error": pixels.auroc_error(),
            "pixel_ap": pixels.average_precision(),
            "pixel_ap_error": pixels.average_precision_error(),
            "iou@0.5_pooled": pixels.iou_pooled(),
            "iou@0.5_images": pixels.iou_images(),
            "iou_oracle_pooled": pixels.iou_oracle_pooled().value,
            "iou_oracle_pooled_threshold": pixels.iou_oracle_pooled().threshold,
            "iou_oracle_images": pixels.iou_oracle_images().value,
            "iou_oracle_images_threshold": pixels.iou_oracle_images().threshold,
            "aupro": regions.aupro(),
            "image_auroc": image_auroc(scores, labels),
            "accuracy_paper": paper_accuracy(scores, labels),
            "sensitivity_at_95_specificity_oracle": sensitivity_at_specificity(scores, labels),
            "n_images_normal": 8,
            "n_images_anomalous": 4,
            "n_images_with_anomalous_pixels": 4,
            "n_pixels_anomalous": 4 * (32 + 6),
            "n_pixels_normal": sum(int((item["mask"] == 0).sum()) for item in items),
            "n_regions": 8,
            "reasons": {},
        }
        assert {name: row[name] for name in expected} == expected
        assert row["image_auroc_interval"] == list(
            bootstrap_interval(image_auroc, [scores, labels], n_resamples=50, seed=3)[:2]
        )
        lesions = [iou for iou in ious if not np.isnan(iou)]
        assert row["iou@0.5_images_interval"] == list(
            bootstrap_interval(np.mean, [lesions], n_resamples=50, seed=3)[:2]
        )
        if key == "attention":
            assert row["accuracy_calibrated"] == balanced_accuracy(scores, labels, threshold=0.75)
        else:
            assert "accuracy_calibrated" not in row
    json.dumps(report, allow_nan=False)


def test_the_threshold_names_the_metric() -> None:
    evaluation = Evaluation(["attention"], threshold=0.25)
    accumulate(evaluation, _items()[0], name="a")
    assert "iou@0.25_pooled" in summarise(evaluation, n_resamples=1)["maps"]["attention"]


def test_order_of_images_does_not_matter() -> None:
    items = _items()
    forward, backward = (summarise(_evaluated(i), n_resamples=1)["maps"]["attention"] for i in (items, items[::-1]))
    for name, value in forward.items():
        if isinstance(value, float):
            assert backward[name] == pytest.approx(value, abs=1e-12), name


def test_normal_images_only() -> None:
    items = [item for item in _items() if not item["label"]]
    report = summarise(_evaluated(items))
    row = report["maps"]["attention"]
    for name in ("pixel_auroc", "pixel_ap", "iou@0.5_pooled", "iou@0.5_images", "iou_oracle_pooled", "aupro"):
        assert row[name] is None
        assert "0 anomalous" in row["reasons"][name]
    assert "8 normal and 0 anomalous images" in row["reasons"]["image_auroc"]
    for name in ("image_auroc_interval", "iou@0.5_images_interval", "iou_oracle_images_threshold", "accuracy_paper"):
        assert row[name] is None
    json.dumps(report, allow_nan=False)


def test_labels_without_masks() -> None:
    items = _items()
    for item in items:
        del item["mask"], item["fov"]
    row = summarise(_evaluated(items), n_resamples=10)["maps"]["attention"]
    assert row["pixel_auroc"] is None
    assert "0 normal and 0 anomalous scores" in row["reasons"]["pixel_auroc"]
    assert row["image_auroc"] is not None
    assert row["n_pixels_normal"] == row["n_pixels_anomalous"] == 0


def test_masks_without_labels() -> None:
    items = _items()
    for item in items:
        del item["label"]
    items[0]["label"] = -1
    report = summarise(_evaluated(items), n_resamples=10)
    assert report["n_images"] == {"normal": 0, "anomalous": 0, "unlabelled": 12}
    assert report["maps"]["attention"]["pixel_auroc"] is not None
    assert "0 normal and 0 anomalous images" in report["maps"]["attention"]["reasons"]["image_auroc"]


def test_one_anomalous_image_has_a_value_but_perhaps_no_interval() -> None:
    evaluation = _evaluated([_items()[0], _items()[1]])
    row = summarise(evaluation, n_resamples=1, seed=1)["maps"]["attention"]
    assert row["image_auroc"] is not None
    drawn = [summarise(evaluation, n_resamples=1, seed=s)["maps"]["attention"] for s in range(8)]
    without = [row for row in drawn if row["image_auroc_interval"] is None]
    assert 0 < len(without) < 8
    assert "interval is undefined" in without[0]["reasons"]["image_auroc_interval"]


def test_a_map_that_is_absent_is_named_and_one_that_is_partly_absent_is_counted_where_it_is() -> None:
    items = _items()
    for item in items[:5]:
        del item["residual"]
    evaluation = _evaluated(items, ("attention", "residual", "class"))
    report = summarise(evaluation, n_resamples=10)
    assert report["maps_absent"] == ["class"]
    assert list(report["maps"]) == ["attention", "residual"]
    assert report["maps"]["residual"]["n_images_normal"] + report["maps"]["residual"]["n_images_anomalous"] == 7
    assert np.isnan(evaluation.scores[:5, 1]).all()
    assert np.isfinite(evaluation.scores[5:, 1]).all()


def test_a_copy_over_all_processes_of_one_process_is_equal() -> None:
    evaluation = _evaluated(_items())
    total = evaluation.synced()
    assert total.names == evaluation.names
    assert summarise(total, n_resamples=10) == summarise(evaluation, n_resamples=10)
    assert evaluation.emptied().names == []
    assert evaluation.emptied().image_quantile == 0.9


@pytest.mark.parametrize("maps", [(), "attention", ("attention", "attention")])
def test_maps_that_are_no_list_of_different_keys_are_refused(maps: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="expected a list of different keys"):
        Evaluation(maps)


def test_a_quantile_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image_quantile is 99.5, expected 0 to 1"):
        Evaluation(["attention"], image_quantile=99.5)


def test_a_label_of_another_value_is_refused() -> None:
    with pytest.raises(ValueError, match="image 0: label is 3, expected 1 anomalous, 0 normal or -1 unknown"):
        accumulate(Evaluation(["attention"]), {"label": 3}, name="a")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mask", torch.zeros(1, 2, 2), "image 1, map 'attention': .*mask has shape"),
        ("attention", torch.full((1, 17, 30), float("nan")), "image 1, map 'attention': anomaly map is NaN"),
    ],
)
def test_the_error_names_image_and_map_but_not_the_name(key: str, value: torch.Tensor, message: str) -> None:
    first, second = _items(2)
    evaluation = _evaluated([first])
    with pytest.raises(ValueError, match=message) as caught:
        accumulate(evaluation, {**second, key: value}, name="Jane Doe")
    assert "Jane" not in str(caught.value)
