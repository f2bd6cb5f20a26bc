"""What a user types: MONAI's command with a bundle folder, a kill and a second start, torchrun, the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_cavga.data import write_phantoms

ROOT = Path(__file__).resolve().parents[2]
LAG = ROOT / "bundles" / "lag"
# Everything is small; every iteration is logged, every second one leaves a state.
TINY = {
    "image_size": "[64, 96]",
    "stages": "2",
    "latent_channels": "8",
    "discriminator_channels": "8",
    "encoder_weights": "none",
    "batch_size": "2",
    "panel_interval": "100",
    "state_interval": "2",
    "train::handlers::2::iteration_log": "1",
}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(
        tmp_path_factory.mktemp("phantoms") / "lag", normal=16, anomalous=4, size=(64, 96), seed=0, progress=False
    )


def monai_command(
    folder: Path, data: Path, *, epochs: int, launcher: tuple[str, ...] = (), overlay: str = ""
) -> list[str]:
    files = [f"'{LAG}/configs/{name}.json'" for name in ("train", overlay) if name]
    words = {
        "config_file": f"[{', '.join(files)}]",
        "bundle_root": str(LAG),
        "dataset_dir": str(data),
        "epochs": str(epochs),
        "model_file": str(folder / "model.pt"),
        "state_file": str(folder / "state.pt"),
        "output_dir": str(folder / "log"),
        **TINY,
    }
    flags = [word for key, value in words.items() for word in (f"--{key}", value)]
    return [sys.executable, *launcher, "-m", "monai.bundle", "run", "training", *flags]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def curve(folder: Path) -> dict[tuple[str, int], float]:
    """All losses by name and iteration; of two values for one, the one written last counts."""
    found: dict[tuple[str, int], tuple[float, float]] = {}
    for file in folder.glob("log/events.out.tfevents.*"):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                if tag.startswith("reconstruction_psnr"):
                    continue  # of the evaluator, by epoch
                old = found.get((tag, event.step), (0.0, 0.0))
                found[tag, event.step] = max(old, (event.wall_time, event.value))
    return {key: value for key, (_, value) in found.items()}


@pytest.mark.slow
def test_killed_and_started_again_equals_never_killed(phantoms, tmp_path):
    """SIGKILL in mid-epoch, then the same command again: every loss of every iteration is the same to the bit."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(
        monai_command(whole, phantoms, epochs=4), check=True, env=environment(), capture_output=True, timeout=300
    )
    process = subprocess.Popen(
        monai_command(killed, phantoms, epochs=4),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = killed / "state.pt"
    length = 5  # ten training normals (16 in the paper's proportion, less a fifth), two a batch
    deadline = time.monotonic() + 240
    iteration = 0
    while time.monotonic() < deadline and process.poll() is None:
        if state.is_file():
            iteration = torch.load(state, weights_only=True)["iteration"]
            if iteration > length and iteration % length:
                break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it was killed: give it more epochs"
    saved = torch.load(state, weights_only=True)
    assert saved["epoch_length"] == length
    assert 0 < saved["iteration"] < 4 * length
    done = subprocess.run(
        monai_command(killed, phantoms, epochs=4), check=True, env=environment(), capture_output=True, timeout=300
    )
    assert b"Traceback" not in done.stderr
    expected, got = curve(whole), curve(killed)
    assert len({step for _, step in expected}) == 4 * length
    after = {key: value for key, value in expected.items() if key[1] > saved["iteration"]}
    assert len(after) >= 6
    assert {key: got[key] for key in after} == after
    one, two = (torch.load(f / "state.pt", weights_only=True)["parts"]["network"] for f in (whole, killed))
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.slow
def test_two_processes_train_one_model(phantoms, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    done = subprocess.run(
        monai_command(tmp_path, phantoms, epochs=2, launcher=launcher, overlay="multi_gpu_train"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["epoch_length"] == 3  # five images for each of two processes, two a batch
    assert state["iteration"] == 6
    assert "network.encoder.conv1.weight" in torch.load(tmp_path / "model.pt", weights_only=True)["model"]
    steps = [step for name, step in curve(tmp_path) if name == "loss"]
    assert sorted(steps) == [1, 2, 3, 4, 5, 6]  # one process logs


@pytest.mark.slow
def test_the_demo(tmp_path, monkeypatch, capsys):
    import importlib.util

    spec = importlib.util.spec_from_file_location("demo", ROOT / "tutorials" / "demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    folder = tmp_path / "demo"
    words = ["demo.py", "--folder", str(folder), "--epochs", "1", "--normal", "12", "--anomalous", "28"]
    monkeypatch.setattr(sys, "argv", words)
    demo.main()
    assert str(folder / "index.html") in capsys.readouterr().out
    for name in ("index.html", "contact_sheet.png", "report.json", "maps/index.html", "maps/maps.json"):
        assert (folder / name).stat().st_size > 100, name
