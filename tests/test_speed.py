"""The speed benchmark: how it measures, and every figure once on small images."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from monai_cavga.data import write_phantoms
from monai_cavga.metrics import PixelHistogram

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
CAN_TELL = all(Path("/proc/self", name).exists() for name in ("status", "clear_refs"))  # Linux: a process's peak memory
SMALL: dict[str, Any] = {
    "rounds": 5,
    "size": (64, 128),
    "many": 2,
    "training_batch": 2,
    "images": (2, 8),
    "banks": (100,),
    "compile": False,
}


@pytest.fixture
def timing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import speed_timing

    return speed_timing


@pytest.fixture
def speed(timing: ModuleType) -> ModuleType:
    import speed

    return speed


def test_calls_are_timed_in_turn(timing: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    found = timing.interleaved({name: lambda n=name: order.append(n) for name in "ab"}, 3)
    assert "".join(order) == "abbaabba"  # the first round does not count
    assert found.seconds == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_ratio_is_within_rounds(timing: ModuleType) -> None:
    found = timing.Timing({"a": [1.0, 20.0, 3.0], "b": [2.0, 40.0, 1.0]})
    assert found.median("a") == 3.0
    assert found.medians() == {"a, s": 3.0, "b, s": 2.0}
    assert found.ratio("a", "b") == 0.5  # 1/2, 20/40, 3/1; the medians would say 1.5


@pytest.mark.parametrize(
    ("ratio", "goal", "met"),
    [(1.03, "<= 1.03", True), (1.04, "<= 1.03", False), (3.1, ">= 3", True), (2.9, ">= 3", False), (1.0, "", None)],
)
def test_goals(timing: ModuleType, ratio: float, goal: str, met: bool | None) -> None:
    assert timing.Row("case", {}, ratio, goal).met is met


def test_few_rounds_are_refused(timing: ModuleType) -> None:
    with pytest.raises(ValueError, match="rounds is 4, expected at least 5"):
        timing.Options(rounds=4)


@pytest.mark.skipif(not CAN_TELL, reason="this system does not tell a process's peak memory")
def test_peak_memory_is_seen(timing: ModuleType) -> None:
    assert timing.peak_growth_mib(lambda: torch.ones(64 << 20, dtype=torch.uint8)) == pytest.approx(64, abs=8)
    assert timing.peak_growth_mib(lambda: None) < 8


def test_peak_memory_of_a_process(timing: ModuleType) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        found = timing.peak_mib(process.pid)
        process.kill()
    if CAN_TELL:
        assert 0 < found < 64
    else:
        assert found is None
    assert timing.peak_mib(None) is None


def test_peak_memory_may_be_unknown(timing: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    assert timing.peak_growth_mib(lambda: None) is None


def measured(speed: ModuleType, name: str, **more: Any) -> list[Any]:
    rows: list[Any] = speed.FIGURES[name].measure(speed.Options(**{**SMALL, **more}))
    for row in rows:
        assert all(value is None or value >= 0 for value in row.numbers.values())
        assert row.ratio is None or row.ratio >= 0
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a", "h"])
def test_training_figures(speed: ModuleType, name: str) -> None:
    rows = measured(speed, name)
    assert len(rows) == 2
    assert all(row.met is not None for row in rows)
    if name == "h":
        for row in rows:
            assert row.numbers["reached, GFLOP/s"] / row.numbers["peak, GFLOP/s"] == pytest.approx(row.ratio)


def test_step_without_attention_has_no_attention_loss(speed: ModuleType) -> None:
    import speed_training

    batch = speed_training.made_batch(speed.Options(**{**SMALL, "training_batch": 4}))  # L_cga: one taken for normal
    for head, name in (("none", "attention_expansion"), ("conv", "complementary_guided_attention")):
        torch.manual_seed(0)
        with_loss = speed_training.Step(speed_training.CAVGA(head=head), batch)()
        without = speed_training.Step(speed_training.WithoutAttention(head=head), batch, attention=False)()
        assert with_loss[name] > 0
        assert with_loss["loss"].isfinite()
        assert without["loss"].isfinite()


def test_closed_form_equals_autograd(speed: ModuleType) -> None:
    (row,) = measured(speed, "b")
    assert row.numbers["largest difference of a gradient"] < 1e-4


def test_localiser_figures(speed: ModuleType) -> None:
    rows = measured(speed, "c")
    assert len(rows) == 2 * 4
    assert all(row.met is not None for row in rows)


def test_maps_equal_monais_grad_cam(speed: ModuleType) -> None:
    for row in measured(speed, "d"):
        assert row.numbers["largest difference, share of the maximum"] < 1e-4


@pytest.mark.slow
def test_runtimes_agree(speed: ModuleType) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    rows = {row.case.split(";")[0]: row for row in measured(speed, "e")}
    assert rows["ONNX Runtime"].numbers["largest difference"] < 1e-4
    assert 0 < rows["bf16"].numbers["largest difference"] < 0.1
    assert rows["torch.compile"].numbers == {"forward, s": None}
    assert rows["torch.compile"].remark in ("not asked for", "no C++ compiler here")


@pytest.mark.slow
def test_loading_figures(speed: ModuleType, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "phantoms", normal=6, anomalous=6, size=(64, 96))
    (tmp_path / "notes").mkdir()  # no data set
    rows = measured(speed, "f", data=tmp_path)
    assert [row.case.split(", ")[0] for row in rows] == ["lag"] * 4
    assert all(row.numbers["loaded, images/s"] / row.numbers["trained, images/s"] == row.ratio for row in rows)


def test_loading_without_data_is_not_measured(speed: ModuleType, tmp_path: Path) -> None:
    assert measured(speed, "f")[0].remark == "not measured: pass --data, a folder of data sets"
    assert measured(speed, "f", data=tmp_path)[0].remark.startswith("not measured: no data set in")


def test_metrics_figures(speed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import speed_metrics

    monkeypatch.setattr(speed_metrics, "SIDE", 32)
    few, more = measured(speed, "g")
    assert few.numbers["held, MiB"] == more.numbers["held, MiB"]
    error, *rest = measured(speed, "g2")
    assert error.met
    assert error.numbers["error"] <= error.numbers["stated bound"]
    assert rest
    maps = speed_metrics.made_maps()
    histogram = PixelHistogram()
    for each in maps:
        histogram.update(*each)
    assert 0.8 < histogram.auroc() < 0.95  # neither chance nor perfect, where every error would be small

    monkeypatch.setattr(speed_metrics.importlib.util, "find_spec", lambda name: None)
    assert measured(speed, "g2")[-1].remark == "not measured: torchmetrics is not installed"


def test_memory_bank_figures(speed: ModuleType) -> None:
    for row in measured(speed, "i"):
        assert row.numbers["stored for it, memory bank, MiB"] == pytest.approx(100 * 384 * 4 / 2**20)


@pytest.mark.slow
def test_localize_figures(speed: ModuleType) -> None:
    rows = measured(speed, "j", photograph=(425, 640))
    assert [row.case.split(";")[0] for row in rows] == ["its json", "what is written by default"]
    for row in rows:
        assert row.numbers["images/s"] == pytest.approx(1 / row.numbers["localize, s an image"])
        *_, ours, decoding, ratio = row.numbers.values()
        if CAN_TELL:
            assert decoding > 30  # the interpreter, NumPy and Pillow alone
            assert ratio == pytest.approx((ours + decoding) / row.numbers["encoder, more at work, MiB"])
        else:
            assert ratio is None


def test_results_are_kept_by_figure(speed: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = speed.Row("one image", {"this, s": 0.01234, "images": 12345.0, "peak": None}, 1.5, "<= 1.03")
    for name in "ab":
        monkeypatch.setitem(speed.FIGURES, name, speed.FIGURES[name]._replace(measure=lambda _: [row]))
    (tmp_path / "speed.json").write_text('{"rows": []}')  # of an older form
    speed.run(["b"], speed.Options(), command="one", folder=tmp_path)
    text = speed.run(["a"], speed.Options(), command="two", folder=tmp_path)
    kept = json.loads((tmp_path / "speed.json").read_text())
    assert [(name, kept[name]["command"]) for name in sorted(kept)] == [("a", "two"), ("b", "one")]
    assert kept["a"]["rows"][0]["met"] is False
    assert text == (tmp_path / "speed.md").read_text()
    assert "| one image | 0.0123 | 12,345 | – | 1.5 | <= 1.03: **missed** |" in text


def test_command_line(speed: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(speed, "run", lambda names, options, *, command: seen.update(n=names, o=options, c=command))
    before = torch.get_num_threads()
    try:
        speed.main(["--only", "g", "c", "--long", "--rounds", "6", "--data", str(tmp_path)])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert seen["n"] == ["g", "c"]
    assert seen["c"] == "python benchmarks/speed.py --only g c --long --data DIR --rounds 6"
    assert (seen["o"].rounds, seen["o"].data) == (6, tmp_path)
    assert seen["o"].images == (*speed.Options.images, speed.LONG)
