"""All numbers of a test set at once: each is the one its own function gives, and none crashes the others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluated import evaluated, items_of_two_maps

from monai_cavga.metrics import (
    FrocHistogram,
    PixelHistogram,
    RegionHistogram,
    balanced_accuracy,
    bootstrap_interval,
    false_positive_area,
    image_auroc,
    image_score,
    paper_accuracy,
    sensitivity_at_specificity,
)
from monai_cavga.metrics.evaluation import Evaluation, accumulate
from monai_cavga.metrics.froc_interval import resampled_froc
from monai_cavga.metrics.interval import percentile_interval
from monai_cavga.metrics.pixel_interval import RESAMPLED, resampled_pixel_metrics
from monai_cavga.metrics.summary import summarise


def test_every_number_is_that_of_its_own_function() -> None:
    items = items_of_two_maps()
    evaluation = evaluated(items)
    report = summarise(evaluation, n_resamples=50, seed=3, image_thresholds={"attention": 0.75})
    assert report["n_images"] == {"normal": 8, "anomalous": 4, "unlabelled": 0}
    assert report["settings"]["score_rule"] == 0.9
    assert report["maps_absent"] == []
    labels = [int(item["label"]) for item in items]
    for key in ("attention", "residual"):
        row = report["maps"][key]
        pixels, regions, froc = PixelHistogram(), RegionHistogram(), FrocHistogram()
        scores, ious, areas = [], [], []
        for item in items:
            ious.append(pixels.update(item[key], item["mask"]).iou)
            regions.update(item[key], item["mask"])
            froc.update(item[key], item["mask"])
            if not item["label"]:
                areas.append(false_positive_area(item[key], threshold=0.5, fov=item["fov"]))
            scores.append(image_score(item[key], fov=item["fov"], rule=0.9))
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
            "froc": froc.score(),
            "froc_sensitivities": dict(
                zip(("0.125", "0.25", "0.5", "1.0", "2.0", "4.0", "8.0"), froc.sensitivities(), strict=True)
            ),
            "false_positive_area": float(np.mean(areas)),
            "false_positive_area_worst": max(areas),
            "false_positive_area_threshold": 0.5,
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
        for name, statistic, arrays in (
            ("image_auroc", image_auroc, [scores, labels]),
            ("sensitivity_at_95_specificity_oracle", sensitivity_at_specificity, [scores, labels]),
            ("false_positive_area", np.mean, [areas]),
        ):
            expected_ends = bootstrap_interval(statistic, arrays, n_resamples=50, seed=3)[:2]
            assert row[f"{name}_interval"] == list(expected_ends)
        resampled = resampled_pixel_metrics(evaluation.compact[key], n_resamples=50, seed=3)
        for name in RESAMPLED:
            assert row[f"{name}_interval"] == list(percentile_interval(resampled[name])[:2])
            assert row[f"{name}_interval"][0] < row[name] < row[f"{name}_interval"][1]
        drawn = resampled_froc(evaluation.compact_frocs[key], n_resamples=50, seed=3)
        assert row["froc_interval"] == list(percentile_interval(drawn)[:2])
        assert row["froc_interval"][0] <= row["froc"] <= row["froc_interval"][1]
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
    accumulate(evaluation, items_of_two_maps()[0], name="a")
    assert "iou@0.25_pooled" in summarise(evaluation, n_resamples=1)["maps"]["attention"]


def test_order_of_images_does_not_matter() -> None:
    items = items_of_two_maps()
    forward, backward = (summarise(evaluated(i), n_resamples=1)["maps"]["attention"] for i in (items, items[::-1]))
    for name, value in forward.items():
        if isinstance(value, float):
            assert backward[name] == pytest.approx(value, abs=1e-12), name


def test_normal_images_only() -> None:
    items = [item for item in items_of_two_maps() if not item["label"]]
    report = summarise(evaluated(items))
    row = report["maps"]["attention"]
    for name in ("pixel_auroc", "pixel_ap", "iou@0.5_pooled", "iou@0.5_images", "iou_oracle_pooled", "aupro"):
        assert row[name] is None
        assert "0 anomalous" in row["reasons"][name]
    assert "8 normal and 0 anomalous images" in row["reasons"]["image_auroc"]
    assert row["froc"] is None
    assert "0 lesions in 8 images" in row["reasons"]["froc"]
    assert 0 < row["false_positive_area"] < row["false_positive_area_worst"] < 1
    for name in ("pixel_auroc_interval", "aupro_interval", "froc_interval", "froc_sensitivities", "pixel_auroc_error"):
        assert row[name] is None
        assert name not in row["reasons"]
    for name in ("image_auroc_interval", "iou@0.5_images_interval", "iou_oracle_images_threshold", "accuracy_paper"):
        assert row[name] is None
    json.dumps(report, allow_nan=False)


def test_labels_without_masks() -> None:
    items = items_of_two_maps()
    for item in items:
        del item["mask"], item["fov"]
    row = summarise(evaluated(items), n_resamples=10)["maps"]["attention"]
    assert row["pixel_auroc"] is row["pixel_auroc_interval"] is None
    assert "0 normal and 0 anomalous scores" in row["reasons"]["pixel_auroc"]
    assert "FROC is undefined: 0 lesions in 0 images" in row["reasons"]["froc"]
    assert row["image_auroc"] is not None
    assert row["false_positive_area"] is not None  # of normal images, which need no mask
    assert row["n_pixels_normal"] == row["n_pixels_anomalous"] == 0


def test_masks_without_labels() -> None:
    items = items_of_two_maps()
    for item in items:
        del item["label"]
    items[0]["label"] = -1
    report = summarise(evaluated(items), n_resamples=10)
    assert report["n_images"] == {"normal": 0, "anomalous": 0, "unlabelled": 12}
    assert report["maps"]["attention"]["pixel_auroc"] is not None
    assert "0 normal and 0 anomalous images" in report["maps"]["attention"]["reasons"]["image_auroc"]


def test_one_anomalous_image_has_a_value_but_perhaps_no_interval() -> None:
    evaluation = evaluated([items_of_two_maps()[0], items_of_two_maps()[1]])
    row = summarise(evaluation, n_resamples=1, seed=1)["maps"]["attention"]
    assert row["image_auroc"] is not None
    drawn = [summarise(evaluation, n_resamples=1, seed=s)["maps"]["attention"] for s in range(8)]
    without = [row for row in drawn if row["image_auroc_interval"] is None]
    assert 0 < len(without) < 8
    assert "interval is undefined" in without[0]["reasons"]["image_auroc_interval"]


def test_anomalous_images_only() -> None:
    row = summarise(evaluated([item for item in items_of_two_maps() if item["label"]]), n_resamples=10)["maps"][
        "attention"
    ]
    assert row["false_positive_area"] is row["false_positive_area_worst"] is row["false_positive_area_interval"] is None
    assert "0 normal images, expected at least one" in row["reasons"]["false_positive_area"]


def test_patients_are_drawn_whole() -> None:
    items = [item for item in items_of_two_maps() for _ in range(3)]  # three equal images of each patient
    by_image = summarise(evaluated(items), n_resamples=200)
    for number, item in enumerate(items):
        item["patient"] = number // 3
    by_patient = summarise(evaluated(items), n_resamples=200)
    once = summarise(evaluated(items_of_two_maps()), n_resamples=200)
    assert (by_image["settings"]["interval_over"], by_patient["settings"]["interval_over"]) == ("images", "patients")
    names = [name for name in once["maps"]["attention"] if name.endswith("_interval")]
    assert len(names) == 8
    for name in names:
        narrow, wide, expected = (r["maps"]["attention"][name] for r in (by_image, by_patient, once))
        assert narrow[1] - narrow[0] <= wide[1] - wide[0]
        assert wide == pytest.approx(expected, abs=2e-3), name


def test_images_without_a_map_or_a_mask_are_not_drawn_for_its_pixels() -> None:
    items = items_of_two_maps()
    del items[0]["residual"], items[1]["mask"]
    for number, item in enumerate(items):
        item["patient"] = f"p{number // 2}"
    evaluation = evaluated(items)
    row = summarise(evaluation, n_resamples=20)["maps"]["residual"]
    resampled = resampled_pixel_metrics(evaluation.compact["residual"][2:], groups=np.arange(10) // 2, n_resamples=20)
    for name in RESAMPLED:
        assert row[f"{name}_interval"] == list(percentile_interval(resampled[name])[:2])
    drawn = resampled_froc(evaluation.compact_frocs["residual"][2:], groups=np.arange(10) // 2, n_resamples=20)
    assert row["froc_interval"] == list(percentile_interval(drawn)[:2])


def test_resamples_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="n_resamples is 0, expected at least 1"):
        summarise(evaluated(items_of_two_maps()), n_resamples=0)
