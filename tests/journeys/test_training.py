"""What a user types: MONAI's command with a bundle folder, a kill and a second start, torchrun, the demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_cavga.data import lag_items, write_phantoms
from monai_cavga.networks import CAVGA, CAVGALocalizer

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
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(
        tmp_path_factory.mktemp("phantoms") / "lag", normal=16, anomalous=4, size=(64, 96), seed=0, progress=False
    )


def monai_command(
    folder: Path,
    data: Path,
    *,
    epochs: int,
    run: str = "training",
    launcher: tuple[str, ...] = (),
    overlays: tuple[str, ...] = (),
) -> list[str]:
    files = [f"'{LAG}/configs/{name}.json'" for name in ("train", *overlays)]
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
    return [sys.executable, *launcher, "-m", "monai.bundle", "run", run, *flags]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def curve(folder: Path, *, without: Collection[Path] = ()) -> dict[tuple[str, int], float]:
    """All losses of a log by name and iteration; one logged twice is an error of the run."""
    found: dict[tuple[str, int], float] = {}
    for file in set(folder.glob("log/events.out.tfevents.*")) - set(without):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                if tag.startswith("reconstruction_psnr"):
                    continue  # of the evaluator, by epoch
                assert (tag, event.step) not in found, f"{tag} of iteration {event.step} is there twice"
                found[tag, event.step] = event.value
    return found


def freeze_in_mid_epoch(process: subprocess.Popen[bytes], state: Path, *, length: int, timeout: float) -> int:
    """Stop a training (SIGSTOP) while its state file is of the middle of an epoch after the first; the iteration.

    A process that is stopped writes nothing more, so that the state looked at is the one it leaves when it is killed.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run was over before it was killed: give it more epochs"
        if state.is_file():
            process.send_signal(signal.SIGSTOP)
            iteration: int = torch.load(state, weights_only=True)["iteration"]
            if iteration > length and iteration % length:
                return iteration
            process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    raise AssertionError(f"no state of the middle of an epoch in {timeout} s")


@pytest.mark.slow
def test_killed_and_started_again_equals_never_killed(phantoms, tmp_path):
    """SIGKILL in mid-epoch, then the same command again: every loss of every iteration is the same to the bit."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    epochs = 6
    length = 5  # ten training normals (16 in the paper's proportion, less a fifth), two a batch
    command = monai_command(killed, phantoms, epochs=epochs)
    subprocess.run(
        monai_command(whole, phantoms, epochs=epochs), check=True, env=environment(), capture_output=True, timeout=300
    )
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        at = freeze_in_mid_epoch(process, killed / "state.pt", length=length, timeout=240)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    saved = torch.load(killed / "state.pt", weights_only=True)
    assert (saved["iteration"], saved["epoch_length"]) == (at, length)
    first_run = set(killed.glob("log/events.out.tfevents.*"))
    done = subprocess.run(command, check=True, env=environment(), capture_output=True, timeout=300)
    assert b"Traceback" not in done.stderr

    expected = curve(whole)
    assert {step for _, step in expected} == set(range(1, epochs * length + 1))
    after = {key: value for key, value in expected.items() if key[1] > at}
    # Of the second run alone, so that nothing the killed run logged can stand in; and it begins where the state ends.
    assert curve(killed, without=first_run) == after
    one, two = (torch.load(f / "state.pt", weights_only=True)["parts"]["network"] for f in (whole, killed))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.slow
def test_two_processes_train_one_model(phantoms, tmp_path):
    done = subprocess.run(
        monai_command(tmp_path, phantoms, epochs=2, launcher=TWO_PROCESSES, overlays=("multi_gpu_train",)),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, [line for line in done.stderr.splitlines() if "rror" in line]
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["epoch_length"] == 3  # five images for each of two processes, two a batch
    assert state["iteration"] == 6
    assert "network.encoder.conv1.weight" in torch.load(tmp_path / "model.pt", weights_only=True)["model"]
    steps = [step for name, step in curve(tmp_path) if name == "loss"]
    assert sorted(steps) == [1, 2, 3, 4, 5, 6]  # one process logs


@pytest.mark.slow
def test_two_processes_evaluate_as_one(tmp_path):
    """Counts are equal, no image is there twice although their number is odd, and the page and the log are one's."""
    phantoms = write_phantoms(tmp_path / "lag", normal=16, anomalous=5, size=(64, 96), seed=0, progress=False)
    assert len(lag_items(phantoms, "test")) % 2
    localizer = CAVGALocalizer(CAVGA(stages=2, latent_channels=8, image_size=(64, 96)))
    torch.save({"model": localizer.state_dict()}, tmp_path / "model.pt")
    for processes, launcher, overlays in ((1, (), ()), (2, TWO_PROCESSES, ("multi_gpu_evaluate",))):
        command = monai_command(
            tmp_path, phantoms, epochs=1, run="evaluating", launcher=launcher, overlays=("evaluate", *overlays)
        )
        options = ["--evaluation_dir", str(tmp_path / str(processes))]
        done = subprocess.run(
            [*command, *options], env=environment(), capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, [line for line in done.stderr.splitlines() if "rror" in line]
    one, two = (json.loads((tmp_path / name / "report.json").read_text()) for name in "12")
    assert one == two
    scores = [(tmp_path / name / "scores.csv").read_text().splitlines() for name in "12"]
    assert sorted(scores[0]) == sorted(scores[1])
    assert (tmp_path / "1" / "index.html").is_file()
    assert not (tmp_path / "2" / "index.html").exists()  # it would show one process's images


@pytest.mark.slow
def test_the_demo(tmp_path, monkeypatch, capsys):
    import importlib.util

    spec = importlib.util.spec_from_file_location("demo", ROOT / "tutorials" / "demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    folder = tmp_path / "demo"
    words = ["demo.py", "--folder", str(folder), "--epochs", "1", "--normal", "30", "--anomalous", "4"]
    monkeypatch.setattr(sys, "argv", words)
    demo.main()
    assert str(folder / "index.html") in capsys.readouterr().out
    for name in ("index.html", "contact_sheet.png", "report.json", "maps/index.html", "maps/maps.json"):
        assert (folder / name).stat().st_size > 100, name
