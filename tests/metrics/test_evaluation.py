"""What is kept of a test set, image by image, and over processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluated import evaluated, items_of_two_maps

from monai_cavga.metrics import FrocHistogram, false_positive_area
from monai_cavga.metrics.evaluation import Evaluation, accumulate
from monai_cavga.metrics.summary import summarise


def test_a_map_that_is_absent_is_named_and_one_that_is_partly_absent_is_counted_where_it_is() -> None:
    items = items_of_two_maps()
    for item in items[:5]:
        del item["residual"]
    evaluation = evaluated(items, ("attention", "residual", "class"))
    report = summarise(evaluation, n_resamples=10)
    assert report["maps_absent"] == ["class"]
    assert list(report["maps"]) == ["attention", "residual"]
    assert report["maps"]["residual"]["n_images_normal"] + report["maps"]["residual"]["n_images_anomalous"] == 7
    assert np.isnan(evaluation.scores[:5, 1]).all()
    assert np.isfinite(evaluation.scores[5:, 1]).all()


def test_a_copy_over_all_processes_of_one_process_is_equal() -> None:
    items = items_of_two_maps()
    del items[2]["residual"]
    items[3]["patient"] = "p"
    evaluation = evaluated(items)
    total = evaluation.synced()
    assert total.patients == evaluation.patients == ["", "", "", "p", *[""] * 8]
    assert total.names == evaluation.names
    assert summarise(total, n_resamples=10) == summarise(evaluation, n_resamples=10)
    for key in evaluation.maps:
        for kept, given in ((total.compact, evaluation.compact), (total.compact_frocs, evaluation.compact_frocs)):
            for mine, theirs in zip(kept[key], given[key], strict=True):
                assert torch.equal(mine, theirs)
    assert evaluation.emptied().names == []
    assert evaluation.emptied().score_rule == 0.9


@pytest.mark.parametrize("maps", [(), "attention", ("attention", "attention")])
def test_maps_that_are_no_list_of_different_keys_are_refused(maps: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="expected a list of different keys"):
        Evaluation(maps)


def test_a_quantile_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"score_rule is 99.5, expected a quantile from 0 to 1"):
        Evaluation(["attention"], score_rule=99.5)


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
    first, second = items_of_two_maps(2)
    evaluation = evaluated([first])
    with pytest.raises(ValueError, match=message) as caught:
        accumulate(evaluation, {**second, key: value}, name="Jane Doe")
    assert "Jane" not in str(caught.value)


def test_area_of_normal_images_inside_the_field_of_view() -> None:
    items = items_of_two_maps(6)
    evaluation = Evaluation(["attention", "residual"], area_thresholds={"residual": 3.0})
    items[1]["mask"][:, :8] = -1  # smaller than the field of view
    del items[2]["mask"]
    items[4]["label"] = -1  # nobody says that it is normal but its mask
    items[5]["label"] = -1
    del items[5]["mask"]
    for number, item in enumerate(items):
        accumulate(evaluation, item, name=str(number))
    assert evaluation.areas.shape == (6, 2)
    for column, (key, threshold) in enumerate((("attention", 0.5), ("residual", 3.0))):
        inside = {1: items[1]["mask"] >= 0, 2: items[2]["fov"], 4: items[4]["fov"]}
        for number, item in enumerate(items):
            area = evaluation.areas[number, column]
            if number in inside:
                assert area == false_positive_area(item[key], threshold=threshold, fov=inside[number])
            else:
                assert np.isnan(area)
    assert evaluation.emptied().area_thresholds == {"attention": 0.5, "residual": 3.0}


def test_candidates_are_looked_for_inside_the_field_of_view_only() -> None:
    items = items_of_two_maps()
    evaluation, expected = Evaluation(["attention"]), FrocHistogram()
    for number, item in enumerate(items):
        expected.update(item["attention"], item["mask"])
        unbounded = torch.where(item["mask"] < 0, 0, item["mask"])
        accumulate(evaluation, {**item, "mask": unbounded.to(torch.uint8)}, name=str(number))
    assert evaluation.frocs["attention"].sensitivities() == expected.sensitivities()


def test_groups_are_of_patients_and_of_images_without_one() -> None:
    evaluation = Evaluation(["attention"])
    for number, patient in enumerate(["a", None, 7, "a", None]):
        accumulate(evaluation, {**items_of_two_maps(1)[0], "patient": patient}, name=str(number))
        assert (evaluation.groups is None) is False
    groups = evaluation.groups
    assert groups is not None
    assert groups[0] == groups[3]
    assert len(set(groups.tolist())) == 4
    assert evaluated(items_of_two_maps(2)).groups is None


@pytest.mark.parametrize("thresholds", [{"class": 0.5}, {"attention": float("nan")}])
def test_area_thresholds_of_other_maps_or_values_are_refused(thresholds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"area_thresholds is .*, expected finite scores for maps of"):
        Evaluation(["attention"], area_thresholds=thresholds)


WORKER = """
import sys, json, torch, torch.distributed as dist
from monai_cavga.metrics.evaluation import Evaluation, accumulate
from monai_cavga.metrics.summary import summarise
store, rank, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=world)
evaluation = Evaluation(["attention"])
for number in (range(5) if world == 1 else (range(3), range(3, 5))[rank]):
    anomaly_map = torch.rand(1, 9 + number, 14, generator=torch.Generator().manual_seed(number))
    mask = torch.zeros(1, 9 + number, 14)
    mask[:, 2:4, 3:6] = number % 2
    item = {"attention": anomaly_map, "mask": mask, "label": number % 2, "patient": number // 2}
    accumulate(evaluation, item, name=f"eye {number}")
print(json.dumps(summarise(evaluation.synced(), n_resamples=50)))
if world > 1:
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_report_what_one_reports(tmp_path: Path) -> None:
    def start(rank: int, world: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, str(tmp_path / "store"), str(rank), str(world)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    reports = []
    for process in [start(0, 1), start(0, 2), start(1, 2)]:
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        reports.append(json.loads(out.splitlines()[-1]))
    alone, first, second = reports
    assert first == second
    assert alone["settings"] == first["settings"]
    for name, value in alone["maps"]["attention"].items():
        assert first["maps"]["attention"][name] == pytest.approx(value, abs=1e-9), name
