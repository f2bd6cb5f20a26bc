"""Calibration: the files it writes, the choice of weights, what it refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from safetensors.torch import load_file, save_file
from scipy.stats import rankdata
from torch import Tensor

from monai_cavga.calibration import FUSION_GRID, CalibrationError, Calibrator, load_calibration
from monai_cavga.latent_fit import fit_latent_distance
from monai_cavga.metrics import image_score
from monai_cavga.networks import CAVGA, CAVGALocalizer, WeightsError, load_model
from monai_cavga.networks.weights import half_precision

HEIGHT, WIDTH = 64, 96
RATE = 0.05
SETTINGS = {"head": "pyramid", "size": (HEIGHT, WIDTH), "seed": 3}
METADATA = {"features": "unit length"}


# --- loaders in memory ---


def draw(item: Mapping[str, Any]) -> dict[str, Any]:
    """Image, field of view and mask of an item, all from its number."""
    generator = torch.Generator().manual_seed(item["number"])
    column = torch.linspace(0.2, 0.7, WIDTH).expand(3, HEIGHT, WIDTH)
    image = column + 0.1 * torch.randn(3, HEIGHT, WIDTH, generator=generator)
    fov = torch.ones(1, HEIGHT, WIDTH)
    fov[..., :8] = 0
    mask = torch.where(fov > 0, 0.0, -1.0)
    if item.get("made"):
        row, start = 8 + item["number"] % 24, 30 + item["number"] % 40
        image[:, row : row + 16, start : start + 14] = 1 - image[:, row : row + 16, start : start + 14]
        mask[:, row : row + 16, start : start + 14] = 1
    return {"image": image.clamp(0, 1), "fov": fov, "mask": mask, "label": item["label"], "name": item["name"]}


def items(first: int, count: int, *, made: bool = False, folder: str = "train") -> list[dict[str, Any]]:
    """The data list, before any transform: every image is normal; with ``made`` every second gets an anomaly."""
    return [
        {
            "image": f"{folder}/{number}.png",
            "name": f"{folder}-{number}",
            "number": number,
            "label": 0,
            "made": made and number % 2 == 1,
        }
        for number in range(first, first + count)
    ]


def loader(data: list[dict[str, Any]], *, transform: Callable[..., Any] = draw) -> DataLoader:
    return DataLoader(Dataset(data, transform), batch_size=2)


def network(head: str = "pyramid", *, seed: int = 0) -> CAVGALocalizer:
    torch.manual_seed(seed)
    net = CAVGA(stages=2, latent_channels=4, head=head, decoder=head == "none")
    with torch.no_grad():
        net.train()(torch.rand(2, 3, HEIGHT, WIDTH))
    return CAVGALocalizer(net, maps=("fused",)).eval()


def calibrator(folder: Path, localizer: CAVGALocalizer | None = None, **options: Any) -> Calibrator:
    return Calibrator(
        network() if localizer is None else localizer,
        **{
            "fit_loader": loader(items(0, 5)),
            "normal_loader": loader(items(10, 3)),
            "made_loaders": {
                "seen": loader(items(20, 4, made=True)),
                "unseen": loader(items(30, 4, made=True)),
            },
            "path": folder / "models" / "calibration.safetensors",
            "model_path": folder / "models" / "model.safetensors",
            "false_positive_rate": RATE,
            "seed": 7,
            "settings": SETTINGS,
            **options,
        },
    )


class Made:
    """One calibration and what it left."""

    def __init__(self, folder: Path) -> None:
        self.calibrator = calibrator(folder)
        self.localizer = self.calibrator.localizer
        self.report = self.calibrator.run()
        self.path, self.model_path = self.calibrator.path, self.calibrator.model_path

    def parts(self, item: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Class logit and distance of one image at the finer size, each ``(1, 1, h, w)``."""
        image = draw(item)["image"][None]
        pyramid = self.localizer.network.pyramid(image)
        logit, distance = self.localizer.network.class_logit(pyramid), self.localizer.distance(pyramid)
        size = logit.shape[-2:]
        return logit, torch.nn.functional.interpolate(distance, size=size, mode="bilinear", align_corners=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    with torch.no_grad():
        return Made(tmp_path_factory.mktemp("calibration"))


# --- what it writes ---


def test_three_files(made: Made) -> None:
    names = ["calibration.json", "calibration.safetensors", "model.safetensors"]
    assert sorted(path.name for path in made.path.parent.iterdir()) == names
    assert json.loads(made.path.with_suffix(".json").read_text()) == made.report
    assert hashlib.sha256(made.model_path.read_bytes()).hexdigest() == made.report["model_sha256"]


def test_the_json_says_where_it_comes_from(made: Made) -> None:
    report = made.report
    assert (report["n_fit"], report["n_normal"]) == (5, 3)
    assert report["positions"] == 5 * 8 * 11  # 64 x 96 at stride 8, less the one column outside the field of view
    assert report["seed"] == 7
    assert report["false_positive_rate"] == RATE
    assert report["score_rule"] == 0.995
    assert report["settings"] == {**SETTINGS, "size": [HEIGHT, WIDTH]}
    names = sorted(f"train-{number}" for number in (0, 1, 2, 3, 4, 10, 11, 12))
    assert report["data_sha256"] == hashlib.sha256("".join(names).encode()).hexdigest()  # the files are not there
    scores = report["image_scores_of_normals"]
    assert len(scores) == 3
    assert scores == sorted(scores)
    with torch.no_grad():
        images = [draw(item) for item in items(10, 3)]
        maps = [made.localizer.anomaly_maps(image["image"][None], ["fused"])[0] for image in images]
    alone = [image_score(each, fov=image["fov"]) for each, image in zip(maps, images, strict=True)]
    assert scores == pytest.approx(sorted(alone), abs=1e-6)  # the same one by one
    for quantiles in (report["quantiles_of_normals"][name] for name in ("class_logit", "latent_distance")):
        assert list(quantiles) == ["0.5", "0.9", "0.99", "0.995", "0.999", "0.9999"]
        assert list(quantiles.values()) == sorted(quantiles.values())


def test_the_same_seed_writes_the_same_files(made: Made, tmp_path: Path) -> None:
    again = calibrator(tmp_path)
    again.run()
    for path, before in ((again.path, made.path), (again.model_path, made.model_path)):
        assert path.read_bytes() == before.read_bytes()


def test_the_model_in_the_file_is_the_one_that_was_calibrated(made: Made) -> None:
    other = network(seed=1)
    load_model(other, made.model_path, settings=SETTINGS)
    load_calibration(other, made.path)
    image = draw(items(50, 1)[0])["image"][None]
    with torch.no_grad():
        assert torch.equal(other(image), made.localizer(image))
    half_precision(made.localizer)  # changes nothing any more
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), made.localizer.parameters(), strict=True))
    with pytest.raises(WeightsError, match="was trained with seed 3, got 4"):
        load_model(other, made.model_path, settings={"seed": 4})


# --- what it finds ---


@torch.no_grad()
def test_training_positions_have_a_mean_square_distance_of_1(made: Made) -> None:
    squares = []
    for item in items(0, 5):
        pyramid = made.localizer.network.pyramid(draw(item)["image"][None])
        squares.append(made.localizer.distance(pyramid)[..., 1:].square())  # inside the field of view
    assert float(torch.cat(squares).mean()) == pytest.approx(1, abs=0.05)


@torch.no_grad()
def test_half_is_the_threshold_of_the_false_positive_rate(made: Made) -> None:
    above = torch.cat([made.localizer.fuse(*made.parts(item))[..., 2:] > 0.5 for item in items(10, 3)])
    assert float(above.float().mean()) == pytest.approx(RATE, abs=0.005)


@torch.no_grad()
def test_both_maps_are_centred_and_scaled_by_the_held_out_normals(made: Made) -> None:
    both = torch.cat([made.localizer.relative(torch.cat(made.parts(item), dim=1)) for item in items(10, 3)])
    values = both[..., 2:].movedim(1, 0).flatten(1).double().numpy()
    np.testing.assert_allclose(made.localizer.centre.numpy(), np.median(values, axis=1), rtol=1e-4, atol=1e-5)
    span = np.quantile(values, 0.999, axis=1) - np.median(values, axis=1)
    np.testing.assert_allclose(made.localizer.scale.numpy(), span, rtol=1e-3)
    distances = made.report["quantiles_of_normals"]["latent_distance"]
    assert distances["0.99"] == pytest.approx(np.quantile(values[1], 0.99), rel=1e-4)


@torch.no_grad()
def test_a_position_that_is_odd_on_all_normals_counts_less(tmp_path: Path) -> None:
    """Dust on the sensor: a mark at one place of every training image is subtracted there, and only there."""

    def dusty(item: Mapping[str, Any]) -> dict[str, Any]:
        drawn = draw(item)
        drawn["image"][:, 40:48, 64:72] = 0
        return drawn

    one = calibrator(tmp_path)
    fit_latent_distance(one.localizer, one.fit_loader)
    one.fit_loader = loader(items(0, 5), transform=dusty)  # after the Gaussian, which five images cannot hold it out of
    one._positions()
    position = one.localizer.position
    assert position.shape == (2, HEIGHT // 4, WIDTH // 4)
    assert position.min() == 0
    assert (position[..., :1] == 0).all()  # outside the field of view
    row, column = divmod(int(position[1].argmax()), WIDTH // 4)
    assert 8 <= row <= 13
    assert 14 <= column <= 19
    assert position[1, row, column] > 3 * position[1].mean()


def test_the_best_of_the_grid_is_taken(made: Made) -> None:
    rows = made.report["validation"]
    assert [tuple(row["weights"]) for row in rows] == list(FUSION_GRID)
    best = max(rows, key=lambda row: row["mean"])
    assert made.localizer.weight.tolist() == pytest.approx(best["weights"])
    assert list(made.report["weights"].values()) == pytest.approx(best["weights"])
    for row in rows:
        assert row["mean"] <= best["mean"]
        scores = [row[name][key] for name in ("seen", "unseen") for key in ("pixel_auroc", "aupro", "image_auroc")]
        assert row["mean"] == pytest.approx(np.mean(scores))
        assert all(0 <= score <= 1 for score in scores)
    assert len({row["mean"] for row in rows}) > 1
    assert {(1.0, 0.0), (0.0, 1.0)} <= set(FUSION_GRID)  # so it is never below its best part


@torch.no_grad()
def test_scores_of_the_grid_are_those_of_the_maps(made: Made) -> None:
    """Pixel AUROC by ranks, image AUROC by counting pairs, of the distance alone."""
    values, truth, scores = [], [], []
    for item in items(30, 4, made=True):
        both = made.localizer.relative(torch.cat(made.parts(item), dim=1))
        full = torch.nn.functional.interpolate(both[:, 1:], size=(HEIGHT, WIDTH), mode="bilinear")[0].numpy()
        mask = draw(item)["mask"].numpy()
        values.append(full[mask >= 0])
        truth.append(mask[mask >= 0])
        scores.append((np.quantile(full[mask >= 0], 0.995), (mask == 1).any()))
    value, label = np.concatenate(values), np.concatenate(truth) == 1
    positive = int(label.sum())
    area = (rankdata(value)[label].sum() - positive * (positive + 1) / 2) / positive / (len(label) - positive)
    pairs = [a > b for a, anomalous in scores if anomalous for b, other in scores if not other]
    row = next(row for row in made.report["validation"] if row["weights"] == [0.0, 1.0])
    assert row["unseen"]["pixel_auroc"] == pytest.approx(area, abs=0.005)
    assert row["unseen"]["image_auroc"] == pytest.approx(np.mean(pairs))


def test_without_a_pyramid_the_distance_is_alone(tmp_path: Path) -> None:
    one = calibrator(tmp_path, network("none"))
    report = one.run()
    assert report["weights"] == {"class": 0.0, "latent_distance": 1.0}
    assert [row["weights"] for row in report["validation"]] == [[0.0, 1.0]]
    assert np.isfinite(one.localizer(draw(items(50, 1)[0])["image"][None]).detach().numpy()).all()


def test_without_made_anomalies_the_class_is_alone_and_without_a_field_of_view_all_counts(tmp_path: Path) -> None:
    def without(item: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in draw(item).items() if key != "fov"}

    report = calibrator(
        tmp_path,
        made_loaders={},
        fit_loader=loader(items(0, 5), transform=without),
        normal_loader=loader(items(10, 3), transform=without),
    ).run()
    assert report["weights"] == {"class": 1.0, "latent_distance": 0.0}
    assert report["positions"] == 5 * 8 * 12


# --- what it refuses ---


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_rates_outside_0_and_1(tmp_path: Path, rate: float) -> None:
    with pytest.raises(CalibrationError, match=rf"false_positive_rate is {rate}, expected \(0, 1\)"):
        calibrator(tmp_path, false_positive_rate=rate)


def loaders_with(data: list[dict[str, Any]], place: str) -> dict[str, Any]:
    one = loader(data)
    return {"made_loaders": {place: one}} if place == "unseen" else {f"{place}_loader": one}


@pytest.mark.parametrize("place", ["fit", "normal", "unseen"])
def test_test_images_are_refused(tmp_path: Path, place: str) -> None:
    tested: Sequence[Mapping[str, Any]] = [{"image": "train/101.png"}, {"image": "train/200.png"}]
    with pytest.raises(CalibrationError, match=f"the {place} images hold test image train-101: use training"):
        calibrator(tmp_path, test_items=tested, **loaders_with(items(100, 3), place))
    calibrator(tmp_path, test_items=tested)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["fit", "normal", "unseen"])
def test_anomalous_images_are_refused(tmp_path: Path, place: str) -> None:
    data = items(100, 3)
    data[1]["label"] = 1
    with pytest.raises(CalibrationError, match=f"the {place} images hold anomalous train-101: pass normal images only"):
        calibrator(tmp_path, **loaders_with(data, place))


def test_too_few_training_images(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="176 positions of 192 channels have no covariance: add normals"):
        calibrator(tmp_path, fit_loader=loader(items(0, 2))).run()
    assert not list(tmp_path.iterdir())


def test_made_anomalies_of_one_class_do_not_choose(tmp_path: Path) -> None:
    with pytest.raises(
        CalibrationError, match=r"the made anomalies do not choose: .*undefined.* hold out more normals"
    ):
        calibrator(tmp_path, made_loaders={"none": loader(items(20, 2))}).run()
    assert not list(tmp_path.iterdir())


# --- reading it again ---


def test_load_round_trip(made: Made) -> None:
    other = network(seed=1)
    load_calibration(other, made.path)
    state = load_file(made.path)
    assert set(state) >= {"centre", "scale", "weight", "threshold", "mean", "whitening"}
    for name, value in state.items():
        buffer = getattr(other.distance, name) if name in ("mean", "whitening") else getattr(other, name)
        assert torch.equal(buffer, value), name
        ours = made.localizer.distance if name in ("mean", "whitening") else made.localizer
        assert torch.equal(buffer, getattr(ours, name)), name
    assert other.threshold.shape == ()


@pytest.mark.parametrize(("weight", "uses"), [((1.0, 0.0), False), ((1.0, 0.2), True), ((0.0, 1.0), True)])
@torch.no_grad()
def test_a_distance_without_weight_is_left_out_of_the_fused_map(
    made: Made, tmp_path: Path, weight: tuple[float, float], uses: bool
) -> None:
    path = tmp_path / "calibration.safetensors"
    save_file({**load_file(made.path), "weight": torch.tensor(weight)}, path, metadata=METADATA)
    localizer = made.localizer
    image = draw(items(50, 1)[0])["image"][None]
    try:
        load_calibration(localizer, path)
        assert localizer.uses_distance is uses
        fused = localizer.anomaly_maps(image, ["fused"])
        localizer.uses_distance = True
        assert torch.equal(fused, localizer.anomaly_maps(image, ["fused"]))
        assert torch.equal(fused, localizer.anomaly_maps(image, ["latent_distance", "fused"])[:, 1:])
    finally:
        load_calibration(localizer, made.path)


def test_no_such_calibration(tmp_path: Path) -> None:
    with pytest.raises(
        CalibrationError, match=r"c.safetensors does not exist: make it with `python -m monai_cavga cal"
    ):
        load_calibration(network(), tmp_path / "c.safetensors")


def test_a_damaged_calibration(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(CalibrationError, match=r"c.safetensors cannot be read: make it again"):
        load_calibration(network(), path)


@pytest.mark.parametrize("metadata", [None, {"features": "plain"}])
def test_a_calibration_of_other_features(made: Made, tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "c.safetensors"
    save_file(load_file(made.path), path, metadata=metadata)
    with pytest.raises(CalibrationError, match=r"is of features .*, expected 'unit length'.*make it again"):
        load_calibration(made.localizer, path)


@pytest.mark.parametrize("name", ["centre", "scale", "weight", "threshold", "mean", "whitening"])
@pytest.mark.parametrize("change", ["missing", "shape"])
def test_a_calibration_of_another_network(made: Made, tmp_path: Path, name: str, change: str) -> None:
    state, path = load_file(made.path), tmp_path / "c.safetensors"
    shape = tuple(state.pop(name).shape)
    if change == "shape":
        state[name] = torch.zeros(5, 5, 5)
    save_file(state, path, metadata=METADATA)
    got = "nothing" if change == "missing" else r"shape \(5, 5, 5\)"
    expected = str(shape).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(
        CalibrationError, match=rf"has {got} for {name}, expected shape {expected}: it is of another network; calib"
    ):
        load_calibration(network(), path)
