"""What runs without torch and MONAI: the clinical command on an exported file, and all that it imports."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Python imports it before anything else, in the process that decodes images too
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "monai", "ignite"):
            raise ImportError(f"{name} is not for this test")

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which torch, MONAI and ignite cannot be imported."""
    folder = tmp_path_factory.mktemp("blocker")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).resolve().parents[1])])}


def run(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["torch", "monai", "monai.data", "ignite.engine"])
def test_the_blocker_blocks(name: str, blocked: dict[str, str]) -> None:
    done = run(["-c", f"import {name}"], blocked)
    assert done.returncode == 1
    assert "is not for this test" in done.stderr


@pytest.mark.parametrize("name", ["handlers", "metrics"])
def test_a_package_imports_its_names_on_first_use(name: str) -> None:
    package = importlib.import_module(f"monai_cavga.{name}")
    assert dir(package) == sorted(package.__all__) == sorted(package._HOMES)
    assert all(getattr(package, each) is not None for each in package.__all__)
    with pytest.raises(AttributeError, match=f"module 'monai_cavga.{name}' has no attribute 'Nothing'"):
        _ = package.Nothing


def test_what_pictures_and_scores_need_is_no_torch(blocked: dict[str, str]) -> None:
    names = "handlers.files, monai_cavga.handlers.colour, monai_cavga.metrics.score, monai_cavga.fundus"
    assert run(["-c", f"import monai_cavga.{names}"], blocked).returncode == 0
