"""The MONAI shells of the pixel metrics: same numbers, usable as a key metric, clear refusals."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import IgniteMetricHandler, from_engine
from torch import Tensor

from monai_cavga.metrics import (
    AUPRO,
    PixelAUROC,
    PixelAveragePrecision,
    PixelHistogram,
    PixelIoU,
    UndefinedMetricError,
)
from monai_cavga.metrics.shell import StreamingMetric

SHELLS: list[StreamingMetric] = [
    PixelAUROC(),
    PixelAveragePrecision(),
    PixelIoU(),
    PixelIoU(oracle=True, average="images"),
    AUPRO(),
]


def _batch(seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    maps, masks = [], []
    for height, width in ((9, 14), (6, 21), (9, 14)):
        maps.append(torch.rand(1, height, width, generator=generator))
        masks.append(torch.zeros(1, height, width, dtype=torch.int8))
        masks[-1][:, 2:5, 3:8] = 1
        maps[-1] += 0.3 * masks[-1]
    return maps, masks


def _histogram() -> PixelHistogram:
    histogram = PixelHistogram()
    for anomaly_map, mask in zip(*_batch(), strict=True):
        histogram.update(anomaly_map, mask)
    return histogram


def test_every_shell_gives_the_number_of_the_histogram() -> None:
    histogram = _histogram()
    expected = {
        PixelAUROC(): histogram.auroc(),
        PixelAveragePrecision(): histogram.average_precision(),
        PixelIoU(): histogram.iou_pooled(),
        PixelIoU(average="images"): histogram.iou_images(),
        PixelIoU(oracle=True): histogram.iou_oracle_pooled().value,
        PixelIoU(oracle=True, average="images"): histogram.iou_oracle_images().value,
    }
    assert len(set(expected.values())) == len(expected)
    for metric, value in expected.items():
        assert metric(*_batch()).tolist() == [126, 126, 126]
        assert metric.aggregate().tolist() == value


def test_threshold_is_passed_on() -> None:
    metric = PixelIoU(threshold=0.8)
    metric(torch.tensor([[[0.9, 0.7, 0.9]]]), torch.tensor([[[1, 1, 0]]]))
    assert float(metric.aggregate()) == pytest.approx(1 / 3)


def test_a_tensor_is_a_list_of_its_items() -> None:
    maps, masks = _batch()
    together, apart, direct = PixelAUROC(), PixelAUROC(), PixelAUROC()
    together(torch.stack([maps[0], maps[2]]), torch.stack([masks[0], masks[2]]))
    apart([maps[0]], [masks[0]])
    apart([maps[2]], [masks[2]])
    direct._compute_tensor(torch.stack([maps[0], maps[2]]), torch.stack([masks[0], masks[2]]))
    assert together.aggregate() == apart.aggregate() == direct.aggregate()
    assert together.histogram.n_images == 2


@pytest.mark.parametrize("metric", SHELLS, ids=lambda m: type(m).__name__)
def test_reset_forgets(metric: StreamingMetric) -> None:
    metric.reset()
    maps, masks = _batch()
    metric(maps, masks)
    first = metric.aggregate()
    metric.reset()
    metric([-m for m in maps], masks)
    assert metric.aggregate() < first
    metric.reset()
    metric(maps, masks)
    assert metric.aggregate() == first


@pytest.mark.parametrize("metric", SHELLS, ids=lambda m: type(m).__name__)
def test_no_anomalies_is_an_error_never_nan(metric: StreamingMetric) -> None:
    metric.reset()
    maps, masks = _batch()
    metric(maps, [0 * m for m in masks])
    with pytest.raises(UndefinedMetricError, match=r"undefined.*evaluate on data"):
        metric.aggregate()
    metric.reset()
    with pytest.raises(UndefinedMetricError, match="undefined"):
        metric.aggregate()


def test_a_key_metric_inside_an_ignite_engine() -> None:
    maps, masks = _batch()
    output = [{"attention": a, "mask": m} for a, m in zip(maps, masks, strict=True)]
    engine = Engine(lambda _engine, batch: batch)
    for name, metric in (("auroc", PixelAUROC()), ("iou", PixelIoU())):
        handler = IgniteMetricHandler(metric, output_transform=from_engine(["attention", "mask"]), save_details=False)
        handler.attach(engine, name)
    values = []
    engine.add_event_handler(Events.COMPLETED, lambda e: values.append(dict(e.state.metrics)))
    for _ in range(2):  # the second run starts afresh
        engine.run([output[:1], output[1:]])
    assert values[0] == values[1] == {"auroc": _histogram().auroc(), "iou": _histogram().iou_pooled()}


def test_without_masks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"PixelAUROC got no y, expected the masks or labels: metric\(y_pred, y\)"):
        PixelAUROC()(_batch()[0])


def test_other_keywords_are_refused() -> None:
    with pytest.raises(TypeError, match=r"PixelAUROC got \['spacing'\], expected only"):
        PixelAUROC()(*_batch(), spacing=1)


def test_another_number_of_masks_is_refused() -> None:
    maps, masks = _batch()
    with pytest.raises(ValueError, match="got 3 predictions and 2 targets"):
        PixelAUROC()(maps, masks[:2])


def test_another_average_is_refused() -> None:
    with pytest.raises(ValueError, match="average is 'macro', expected one of"):
        PixelIoU(average="macro")


@pytest.mark.parametrize("shell", [PixelAUROC, PixelAveragePrecision, PixelIoU, AUPRO])
def test_bits_are_checked(shell: type[PixelAUROC]) -> None:
    with pytest.raises(ValueError, match="bits is 30"):
        shell(bits=30)
