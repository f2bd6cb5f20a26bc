"""What an installation brings: the package, its types and the `.pth` of the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import monai_cavga

ROOT = Path(__file__).resolve().parents[1]
PTH = "monai_cavga_cli.pth"
SOURCES = ("monai_cavga", "setup.py", "pyproject.toml", PTH, "MANIFEST.in", "LICENSE", "README.md")
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")
OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index")


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MONAI_CAVGA_CLI")}
    return subprocess.run(list(command), cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that no build folder appears in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    done = _run(sys.executable, *PIP, "wheel", *OFFLINE, "--wheel-dir", "dist", ".", cwd=source)
    assert done.returncode == 0, done.stderr
    (found,) = (source / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    configs = tmp_path_factory.mktemp("bundle") / "configs"
    configs.mkdir()
    (configs / "train.json").write_text(json.dumps({"epochs": 1, "training": ["$print('trained with', @epochs)"]}))
    return configs.parent


def _environment(folder: Path) -> Path:
    """A new environment that also sees the packages of this one; its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    scheme = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)}, scheme="venv")
    # Plain entry: the `.pth` files over there are not read, so an installation of this package there is not seen twice.
    Path(scheme["purelib"], "zz_outer.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return Path(scheme["scripts"], "python")


@pytest.mark.slow
def test_wheel_has_the_pth_at_its_root_and_in_its_record(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        record = archive.read(next(name for name in names if name.endswith(".dist-info/RECORD"))).decode()
        line = archive.read(PTH).decode()
    assert line.count("\n") == 1
    assert line == (ROOT / PTH).read_text()
    assert PTH in {row[0] for row in csv.reader(io.StringIO(record))}  # uninstalling removes it
    assert "monai_cavga/py.typed" in names
    assert "monai_cavga/bundle/command_line.py" in names
    assert {name.split("/")[0] for name in names} == {
        "monai_cavga",
        PTH,
        f"monai_cavga-{monai_cavga.__version__}.dist-info",
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "editable"])
def test_monais_command_as_typed(kind: str, source: Path, wheel: Path, bundle: Path, tmp_path: Path) -> None:
    python = _environment(tmp_path / "env")
    what = [str(wheel)] if kind == "plain" else ["--editable", str(source)]
    done = _run(sys.executable, *PIP, "--python", python, "install", *OFFLINE, *what, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    command = [python, "-m", "monai.bundle", "run", "training", "--config", bundle]
    done = _run(*command, "--epochs", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trained with 3" in done.stdout
    assert f"monai_cavga: --config {bundle} is read as --config_file" in done.stderr

    done = _run(*command, "--epoch", "3", cwd=tmp_path)  # ends before MONAI is imported
    assert (done.returncode, done.stderr) == (2, "monai_cavga: unknown key --epoch: did you mean --epochs?\n")

    done = _run(sys.executable, *PIP, "--python", python, "uninstall", "--yes", "monai_cavga", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "env").rglob(PTH))


def test_the_pth_costs_an_interpreter_that_runs_something_else_no_import() -> None:
    code = f"import sys; exec(open({str(ROOT / PTH)!r}).read()); print('monai_cavga' in sys.modules)"
    done = _run(sys.executable, "-I", "-S", "-c", code, "monai.bundle", "run", cwd=ROOT)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_constraints_pin_each_package_once() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in lines)
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0].lower()) for line in lines]
    assert len(set(names)) == len(names)
    assert {"torch", "monai", "pytest", "ruff", "mypy"} <= set(names)


def test_citation_names_this_version() -> None:
    assert f"\nversion: {monai_cavga.__version__}\n" in (ROOT / "CITATION.cff").read_text()
