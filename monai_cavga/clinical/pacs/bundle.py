"""A bundle as the localiser of a PACS run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from monai_cavga import __version__
from monai_cavga.clinical.model import Model, load_model
from monai_cavga.clinical.outcome import Outcome
from monai_cavga.clinical.pacs.archive import Localised
from monai_cavga.clinical.write import Kind

__all__ = ["BundleLocaliser"]


@dataclass(frozen=True, kw_only=True)
class BundleLocaliser:
    """A `Localise` that loads its model where it is first called, so that it travels to other machines.

    Attributes:
        bundle: folder.
        kinds: of DICOM objects.
        model_file: weights, in place of the bundle's; with "onnx" an exported file.
        calibration_file: calibration, in place of the bundle's; not with "onnx".
        backend: what runs the network, see `load_model`.
    """

    bundle: Path
    kinds: tuple[Kind, ...]
    model_file: Path | None = None
    calibration_file: Path | None = None
    backend: str = "torch"

    @property
    def recipe(self) -> str:
        """A hash of what decides about the objects: release, model, calibration, config, kinds."""
        parts = [__version__, *self._model().identity.parts, *sorted(self.kinds)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def __call__(self, paths: list[Path], output: Path) -> list[Localised]:
        """See `Localise`."""
        from monai_cavga.clinical.localize import Localizer
        from monai_cavga.clinical.read import Reader

        with Reader() as reader:
            outcomes = Localizer(self._model(), reader, kinds=self.kinds).run(paths, output)
        return [self._answer(outcome, output) for outcome in outcomes]

    def _model(self) -> Model:
        return _load(self.bundle, self.model_file, self.calibration_file, self.backend)

    def _answer(self, outcome: Outcome, output: Path) -> Localised:
        if outcome.state != "ok":
            problem = f"{outcome.state}: {outcome.reason}"
            return Localised(path=outcome.path, problem=problem, again=outcome.state == "failed")
        files = outcome.record["files"]
        return Localised(path=outcome.path, objects=tuple(output / files[kind] for kind in self.kinds))


@lru_cache(maxsize=1)  # a process of a cluster works on many studies
def _load(bundle: Path, model_file: Path | None, calibration_file: Path | None, backend: str) -> Model:
    return load_model(bundle, model_file=model_file, calibration_file=calibration_file, backend=backend)
