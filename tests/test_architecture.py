"""Rules about the source itself: which room may know which, file lengths, no pickle, no hooks."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "monai_cavga"
FILES = sorted(PACKAGE.rglob("*.py"))
ALL_FILES = FILES + sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))

# A room may import itself and the rooms named here; what is imported under TYPE_CHECKING does not count.
ALLOWED = {
    "attention": set(),
    "fundus": set(),
    "data": set(),
    "metrics": set(),
    "calibration": {"handlers", "latent_fit", "metrics", "networks"},
    "latent_fit": {"networks"},
    "transforms": {"data", "fundus", "metrics"},
    "networks": {"attention"},
    "losses": {"attention"},
    "inferers": {"attention", "networks"},
    "engines": {"losses", "networks", "attention"},
    "handlers": {"metrics", "networks", "engines"},
    "plots": {"handlers", "metrics"},
    "bundle": {"data"},
    "export": {"bundle", "handlers", "metrics", "networks", "transforms"},
    "clinical": {"bundle", "data", "export", "fundus", "handlers", "metrics", "transforms"},
    "__main__": {"bundle", "clinical", "data", "export"},
    "__init__": set(),
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.Module) -> set[str]:
    """Rooms of this package that a module imports, inside functions too."""
    found = set()
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("monai_cavga."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("monai_cavga.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path):
    here = room(path)
    assert imported_rooms(ast.parse(path.read_text(encoding="utf-8"))) - {here} <= ALLOWED[here]


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_no_pickle_and_no_hooks():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "dill", "joblib"} & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Attribute):
                assert not (node.attr.startswith("register_") and node.attr.endswith("_hook")), path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), path
