"""Two processes count what one process counts, to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import monai_cavga
from monai_cavga.metrics import PixelAUROC, PixelHistogram
from monai_cavga.metrics.accumulation import gather_rows, gather_texts

# metrics/__init__ imports MONAI, eight seconds a process; a bare package with its path does not
WORKER = """
import sys, types, json, torch, torch.distributed as dist
root, store, rank, world = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
package = types.ModuleType("monai_cavga.metrics"); package.__path__ = [root + "/metrics"]
top = types.ModuleType("monai_cavga"); top.__path__ = [root]
sys.modules.update({"monai_cavga": top, "monai_cavga.metrics": package})
from monai_cavga.metrics.accumulation import gather_rows, gather_texts
from monai_cavga.metrics.histogram import PixelHistogram
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=world)
histogram = PixelHistogram()
for number in list(range(5))[rank::world]:  # three images here, two there
    anomaly_map = torch.randn(1, 9 + number, 14, generator=torch.Generator().manual_seed(number))
    mask = (anomaly_map + torch.arange(14.0) / 7 > 2).to(torch.int8)
    mask[:, 0] = -1
    histogram.update(anomaly_map, mask)
total = histogram.synced()
rows = gather_rows(torch.full((3 * rank, 2), float(rank + 1)) * torch.tensor([1.0, float("nan")]))
texts = gather_texts(["\\u00e9\\n\\u5d0e"] * rank)
histograms, _, _, pixels, images = total.tensors()
result = {
    "counts": [histograms.nonzero().tolist(), histograms[histograms > 0].tolist(), pixels.tolist(), images.tolist()],
    "exact": [total.auroc(), total.average_precision(), total.iou_pooled(), total.iou_oracle_pooled().value],
    "mean": [total.iou_images(), total.iou_oracle_images().value],
    "own": histogram.n_images, "rows": rows[:, 0].tolist(), "nan": bool(rows[:, 1].isnan().all()), "texts": texts,
    "monai": "monai" in sys.modules,
}
print(json.dumps(result))
if world > 1:
    dist.destroy_process_group()
"""


def _run(store: Path, world: int) -> list[dict[str, object]]:
    root = str(Path(monai_cavga.__file__).parent)
    command = [sys.executable, "-c", WORKER, root, str(store)]
    processes = [
        subprocess.Popen([*command, str(rank), str(world)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    results = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        results.append(json.loads(out.splitlines()[-1]))
    return results


@pytest.mark.slow
def test_two_processes_count_what_one_counts(tmp_path: Path) -> None:
    (alone,) = _run(tmp_path / "unused", 1)
    first, second = _run(tmp_path / "store", 2)
    assert (first["own"], second["own"], alone["own"]) == (3, 2, 5)
    for result in (first, second):
        assert result["monai"] is False
        assert result["counts"] == alone["counts"]
        assert result["exact"] == alone["exact"]
        assert result["mean"] == pytest.approx(alone["mean"], abs=1e-12)
        assert result["rows"] == [2.0, 2.0, 2.0]  # none of rank 0, three of rank 1
        assert result["nan"] is True
        assert result["texts"] == ["é\n崎"]


def test_without_a_process_group_nothing_is_exchanged() -> None:
    rows = torch.tensor([[1.0, 2.0]])
    assert torch.equal(gather_rows(rows), rows)
    assert gather_texts(["a", "b\nc", ""]) == ["a", "b\nc", ""]
    assert gather_texts([]) == []
    histogram = PixelHistogram(bits=10)
    total = histogram.synced()
    total.update(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    assert histogram.n_images == 0  # a copy, not the same state


def test_a_group_of_one_gives_the_value_without_a_group(tmp_path: Path) -> None:
    metric = PixelAUROC()
    metric([torch.tensor([[[0.1, 0.7, 0.6, 0.2]]])], [torch.tensor([[[0, 1, 0, 1]]])])
    before = metric.aggregate()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        assert torch.equal(metric.aggregate(), before)
        assert torch.equal(metric.aggregate(), before)  # aggregating twice adds nothing
        assert gather_rows(torch.ones(2, 3)).shape == (2, 3)
        assert gather_texts(["x"]) == ["x"]
    finally:
        dist.destroy_process_group()
    assert float(before) == 0.75  # by hand: of the 4 pairs, only 0.2 against 0.6 is wrong
