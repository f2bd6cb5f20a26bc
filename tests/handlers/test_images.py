"""The picture handlers inside MONAI's evaluator and in plain ignite engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.inferers import Inferer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_cavga.handlers import LocalisationHandler, PanelHandler, TensorBoardPanelHandler
from monai_cavga.handlers.colour import grey16
from monai_cavga.handlers.files import NOTICE
from monai_cavga.handlers.outputs import check_positive, outputs_of, source_of

HEIGHT, WIDTH = 30, 50


def output(name: str | None = "eye", **changes: Any) -> dict[str, Any]:
    """One decollated output: network size 16 x 16, maps at 30 x 50, landmark at the bottom left."""
    attention = torch.full((1, HEIGHT, WIDTH), 0.1)
    attention[:, 24:, :10] = 0.9
    made = {
        "image": torch.full((3, 16, 16), 0.5),
        "attention": attention,
        "residual": attention / 10,
        "label": torch.tensor(0),
        "score": 0.5,
        "name": name,
        **changes,
    }
    return {key: value for key, value in made.items() if value is not None}


def run(handler: Any, batches: list[list[dict[str, Any]]], *, epoch: int = 1) -> None:
    """Send outputs through an ignite engine as MONAI's evaluator does, ending with the given epoch."""
    engine = Engine(lambda _, batch: batch)
    handler.attach(engine)
    engine.state.epoch, engine.state.max_epochs = epoch - 1, epoch
    engine.run(batches, max_epochs=epoch, epoch_length=len(batches))


def sheet_rows(folder: Path) -> int:
    """Rows of the contact sheet: panels of one height with a gap of one pixel."""
    with Image.open(next(folder.glob("*_panel.png"))) as one, Image.open(folder / "contact_sheet.png") as sheet:
        rows, rest = divmod(sheet.height + 1, one.height + 1)
    assert rest == 0
    return rows


def events(folder: Path) -> dict[str, list[int]]:
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0})
    accumulator.Reload()
    return {tag: [event.step for event in accumulator.Images(tag)] for tag in accumulator.Tags()["images"]}


def test_tensorboard_has_panels_of_the_first_images_without_a_mask(tmp_path: Path) -> None:
    handler = TensorBoardPanelHandler(tmp_path, max_images=3, interval=2)
    run(handler, [[output("a"), output("b")], [output("../c"), output("d")]], epoch=2)
    for epoch in (3, 4):
        run(handler, [[output("a")]], epoch=epoch)
    handler.close()
    assert events(tmp_path) == {"panels/a": [2, 4], "panels/b": [2], "panels/c": [2]}


def test_tensorboard_writer_is_opened_late_and_closed_with_the_trainer(tmp_path: Path) -> None:
    trainer = Engine(lambda _, batch: None)
    handler = TensorBoardPanelHandler(tmp_path / "log", trainer=trainer, tag="val")
    evaluator = Engine(lambda _, batch: batch)
    handler.attach(evaluator)
    assert not (tmp_path / "log").exists()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([[output()]]))
    trainer.run([0], max_epochs=3)
    assert handler._opened is None
    assert events(tmp_path / "log") == {"val/eye": [1, 2, 3]}  # the trainer's epochs; the evaluator's is always 1


def test_tensorboard_writer_of_the_caller_stays_open() -> None:
    class Writer:
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def add_image(self, tag: str, picture: np.ndarray, step: int, *, dataformats: str) -> None:
            self.calls.append((tag, picture.shape[-1], picture.dtype.name, step, dataformats))

        def flush(self) -> None:
            self.calls.append("flush")

    writer = Writer()
    handler = TensorBoardPanelHandler(summary_writer=writer)
    run(handler, [[output("a"), output("a")]], epoch=5)
    handler.close()
    assert writer.calls == [("panels/a", 3, "uint8", 5, "HWC"), ("panels/a_2", 3, "uint8", 5, "HWC"), "flush"]


def test_tensorboard_wants_exactly_one_place() -> None:
    with pytest.raises(ValueError, match="expected exactly one"):
        TensorBoardPanelHandler()
    with pytest.raises(ValueError, match="expected exactly one"):
        TensorBoardPanelHandler("x", summary_writer=object())


@pytest.mark.parametrize("option", ["interval", "max_images"])
def test_numbers_below_one_are_refused(option: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{option} is 0, expected at least 1"):
        TensorBoardPanelHandler(tmp_path, **{option: 0})
    with pytest.raises(ValueError, match="maximum is 0"):
        PanelHandler(tmp_path, maximum=0)
    with pytest.raises(ValueError, match="overlay_size is 0"):
        LocalisationHandler(tmp_path, overlay_size=0)
    check_positive(option=1)


def test_panel_files_and_contact_sheet(tmp_path: Path) -> None:
    handler = PanelHandler(tmp_path, maximum=3)
    run(handler, [[output("a", label=None), output("a", label=None)], [output("b", label=None), output("c")]])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a_2_panel.png", "a_panel.png", "b_panel.png", "contact_sheet.png"]
    with Image.open(tmp_path / "a_panel.png") as one, Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert one.text["notice"] == NOTICE  # type: ignore[attr-defined]
        assert sheet.size == (one.width, 3 * one.height + 2)
    run(handler, [[output("a")]], epoch=2)  # a second run counts from the start and overwrites
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_panels_of_all_images_but_a_bounded_sheet(tmp_path: Path) -> None:
    run(PanelHandler(tmp_path, maximum=None), [[output(f"{i}", label=None) for i in range(14)]])
    assert len(list(tmp_path.glob("*_panel.png"))) == 14
    assert sheet_rows(tmp_path) == 12


# hand: of 5 places 3 per label; of 4, 2; of 1, 1; images without a label (None) take any place that is left
@pytest.mark.parametrize(
    ("maximum", "labels", "written"),
    [
        (5, [0, 0, 0, 0, 0, 1, 1, 0, 1], [0, 1, 2, 5, 6]),
        (4, [1, 1, 1, 0, 1, 0, 0], [0, 1, 3, 5]),
        (4, [0, 0, 0, 0, 0], [0, 1]),
        (4, [0, None, 0, 0, None, 1], [0, 1, 2, 4]),
        (1, [0, 1], [0]),
    ],
)
def test_at_most_half_of_the_panels_carry_one_label(maximum, labels, written, tmp_path: Path) -> None:
    items = [output(f"{i}", label=None if label is None else torch.tensor(label)) for i, label in enumerate(labels)]
    handler = PanelHandler(tmp_path, maximum=maximum)
    run(handler, [items[:3], items[3:]] if len(items) > 3 else [items])
    assert sorted(path.name for path in tmp_path.glob("*_panel.png")) == [f"{i}_panel.png" for i in written]
    assert sheet_rows(tmp_path) == len(written)


@pytest.mark.parametrize(("maximum", "panels"), [(None, 22), (30, 17)])
def test_sheet_of_many_panels_is_shared_between_the_labels(maximum: int | None, panels: int, tmp_path: Path) -> None:
    """20 normals, then 2 anomalous: 30 places take 15 + 2, all 22; the sheet's 12 rows take 6 + 2 either way."""
    run(
        PanelHandler(tmp_path, maximum=maximum),
        [[output(f"{i}", label=torch.tensor(int(i >= 20))) for i in range(22)]],
    )
    assert len(list(tmp_path.glob("*_panel.png"))) == panels
    assert sheet_rows(tmp_path) == 8
    with Image.open(tmp_path / "21_panel.png") as one, Image.open(tmp_path / "contact_sheet.png") as sheet:
        last = np.asarray(sheet)[-one.height :, : one.width]
        np.testing.assert_array_equal(last, np.asarray(one))  # the last row is the last anomalous image


def test_round_trip_maps_in_16_bits(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(1, HEIGHT, WIDTH, generator=generator)
    item = output("left", attention=values, residual=values * 4 - 1)
    run(LocalisationHandler(tmp_path, ["attention", "residual"], scales={"residual": (-1.0, 3.0)}), [[item]])
    index = json.loads((tmp_path / "maps.json").read_text())
    for key in ("attention", "residual"):
        entry = index["images"][0]["maps"][key]
        with Image.open(tmp_path / entry["file"]) as read:
            pixels = np.asarray(read)
        assert pixels.dtype == np.uint16
        assert pixels.shape == (HEIGHT, WIDTH)
        back = entry["low"] + (entry["high"] - entry["low"]) * pixels.astype(np.float64) / 65535
        np.testing.assert_allclose(back, item[key][0].numpy(), atol=(entry["high"] - entry["low"]) / 131070 + 1e-6)
        assert entry["clipped_below"] == entry["clipped_above"] == 0


def test_hand_fixed_scale_and_counted_clipping(tmp_path: Path) -> None:
    row = torch.tensor([[[0.0, 0.5, 1.0, -0.25, 2.0, 3.0]]])
    run(LocalisationHandler(tmp_path), [[output("x", attention=row)]])
    with Image.open(tmp_path / "x_attention.png") as read:
        assert np.asarray(read)[0].tolist() == [0, 32768, 65535, 0, 65535, 65535]
        assert read.text["scale"] == "value = 0.0 + (1.0 - 0.0) * pixel / 65535"  # type: ignore[attr-defined]
    entry = json.loads((tmp_path / "maps.json").read_text())["images"][0]["maps"]["attention"]
    assert entry == {"file": "x_attention.png", "low": 0.0, "high": 1.0, "clipped_below": 1, "clipped_above": 2}


def test_localisation_geometry_and_index(tmp_path: Path) -> None:
    image = MetaTensor(torch.full((3, 16, 16), 0.5), meta={"filename_or_obj": "/secret/folder/left.jpg"})
    run(
        LocalisationHandler(tmp_path, overlay_size=25, opacity=1.0),
        [[output(image=image), output(None, score=float("nan"))]],
    )
    with Image.open(tmp_path / "eye_overlay.png") as read:
        picture = np.asarray(read).astype(int)
    assert picture.shape == (15, 25, 3)  # at most 25, in the source's proportions
    assert (picture[13:, :4, 1] > 180).all()  # bottom left is the map's pale end
    assert (picture[:11] < 140).all()
    with Image.open(tmp_path / "eye_attention.png") as read:
        assert (np.asarray(read)[24:, :10] > 50000).all()
        assert (np.asarray(read)[:24] < 10000).all()
    text = (tmp_path / "maps.json").read_text()
    assert "secret" not in text
    index = json.loads(text)
    assert index["notice"] == NOTICE
    assert index["maps"] == ["attention"]
    first, second = index["images"]
    assert {key: first[key] for key in ("name", "source", "height", "width", "score", "label")} == {
        "name": "eye",
        "source": "left.jpg",
        "height": HEIGHT,
        "width": WIDTH,
        "score": 0.5,
        "label": 0,
    }
    assert first["overlay"] == {"file": "eye_overlay.png", "map": "attention", "low": 0.0, "high": 1.0, "opacity": 1.0}
    assert (second["name"], second["source"], second["score"]) == ("image_0002", None, None)


def test_names_stay_in_the_folder_and_apart(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    names = ["../x", "x", "X", "/etc/passwd", "<script>", "..", "x_2"]
    run(LocalisationHandler(folder), [[output(name) for name in names]])
    index = json.loads((folder / "maps.json").read_text())
    written = [entry["maps"]["attention"]["file"] for entry in index["images"]]
    assert [entry["name"] for entry in index["images"]] == names
    assert len({name.lower() for name in written}) == len(names)
    assert {path.name for path in folder.iterdir()} == {
        *written,
        *(entry["overlay"]["file"] for entry in index["images"]),
        "maps.json",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_index_is_removed_first_and_written_last(tmp_path: Path) -> None:
    handler = LocalisationHandler(tmp_path)
    run(handler, [[output("a")]])
    assert (tmp_path / "maps.json").is_file()
    with pytest.raises(ValueError, match=r"output has no \['attention'\]"):
        run(handler, [[output("a")], [output("b", attention=None)]], epoch=2)
    assert not (tmp_path / "maps.json").exists()


def test_map_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    values = torch.full((1, 3, 4), 0.5)
    values[0, 1, 2] = float("nan")
    with pytest.raises(ValueError, match="map 'attention' of image 'eye': 1 of 12 values are not finite"):
        run(LocalisationHandler(tmp_path), [[output(attention=values)]])
    with pytest.raises(ValueError, match="2 of 2 values are not finite"):
        grey16(np.array([[np.inf, -np.inf]]), low=0.0, high=1.0)


@pytest.mark.parametrize("maps", ["attention", [], ["attention", "attention"]])
def test_bad_list_of_maps_is_refused(maps: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a list of different keys"):
        LocalisationHandler(tmp_path, maps)


def test_bad_scale_or_opacity_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="map 'attention': scale is"):
        LocalisationHandler(tmp_path, scales={"attention": (1.0, 0.0)})
    with pytest.raises(ValueError, match="opacity is 2"):
        LocalisationHandler(tmp_path, opacity=2)


def test_each_process_of_a_distributed_run_has_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    assert LocalisationHandler(tmp_path).folder == tmp_path / "rank_1"
    handler = PanelHandler(tmp_path)
    engine = Engine(lambda _, batch: batch)
    engine.state.output = engine.state.batch = [output()]
    handler._write(engine)
    assert list(tmp_path.iterdir()) == []  # panels are the first process's


def test_outputs_that_are_no_list_of_dicts_are_refused() -> None:
    engine = Engine(lambda _, batch: batch)
    engine.state.output, engine.state.batch = {"image": torch.zeros(2, 3, 4, 4)}, None
    with pytest.raises(TypeError, match=r"engine\.state\.output is dict.*decollate=True"):
        outputs_of(engine)


def test_names_come_from_output_batch_file_or_position() -> None:
    engine = Engine(lambda _, batch: batch)
    file = MetaTensor(torch.zeros(1, 2, 3), meta={"filename_or_obj": "C:\\eyes\\right.png"})
    plain = torch.zeros(1, 2, 3)
    engine.state.output = [{"image": plain, "name": "o"}, {"image": plain}, {"image": file}, {"image": plain}]
    engine.state.batch = [{"name": "b"}, {"name": "b"}, {}, {}]
    assert [(name, source) for name, source, _ in outputs_of(engine)] == [
        ("o", None),
        ("b", None),
        ("right", "right.png"),
        ("image_0004", None),
    ]
    assert source_of({}) is None


class _Maps(Inferer):
    """Like the package's inferer: a dict of maps; here the image's own mean."""

    def __call__(self, inputs: Any, network: Any, *args: Any, **kwargs: Any) -> Any:
        return network(inputs)


def test_inside_monai_evaluator(tmp_path: Path) -> None:
    """Two batches through SupervisedEvaluator, decollated, with all three handlers."""

    class Mean(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean(1, keepdim=True)

    def spread(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "attention": item["pred"], "score": float(item["pred"].max())}

    image = torch.zeros(3, 12, 20)
    image[:, 2:4, 15:19] = 0.8
    data = [{"image": image * (0.5 + i / 10), "label": i % 2, "name": f"eye{i}"} for i in range(4)]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(data), batch_size=2),
        network=Mean(),
        inferer=_Maps(),
        postprocessing=spread,
        val_handlers=[
            TensorBoardPanelHandler(tmp_path / "log", max_images=2),
            PanelHandler(tmp_path / "panels", maximum=3),
            LocalisationHandler(tmp_path / "maps"),
        ],
    )
    evaluator.run(7)
    assert events(tmp_path / "log") == {"panels/eye0": [7], "panels/eye1": [7]}
    assert sorted(path.name for path in (tmp_path / "panels").glob("*_panel.png")) == [
        f"eye{i}_panel.png" for i in range(3)
    ]
    index = json.loads((tmp_path / "maps" / "maps.json").read_text())
    assert [(entry["name"], entry["label"]) for entry in index["images"]] == [(f"eye{i}", i % 2) for i in range(4)]
    assert [entry["score"] for entry in index["images"]] == pytest.approx([0.4, 0.48, 0.56, 0.64])
    with Image.open(tmp_path / "maps" / "eye3_attention.png") as read:
        assert (np.asarray(read) > 0).nonzero()[0].tolist() == [2] * 4 + [3] * 4
