"""Photographs in, maps out: read, gate, localise, write, and say what became of each."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from monai_cavga import __version__
from monai_cavga.clinical.model import Model, ModelError
from monai_cavga.clinical.outcome import STATES, Outcome
from monai_cavga.clinical.quality import LEAST_SIDE, measure, problem
from monai_cavga.clinical.read import Reader
from monai_cavga.clinical.records import Localisation, ModelIdentity, Source
from monai_cavga.clinical.refusal import RefusedError, own_words
from monai_cavga.clinical.write import DEFAULT_KINDS, Kind, write_kinds
from monai_cavga.handlers.files import NOTICE, safe_name, write_atomic

__all__ = ["Localizer", "write_results"]

DEBUG = "MONAI_CAVGA_DEBUG"
RESULTS = "results.json"


class Localizer:
    """Localises images into a folder; what an earlier run with the same model and options left there is kept.

    Args:
        model: see `monai_cavga.clinical.model.load_model`.
        reader: decodes the files; its owner closes it.
        kinds: what is written of each image; its ``.json`` always is.
        batch_size: images that go through the network together; maps are the same for any.

    Raises:
        ValueError: if ``batch_size`` is below 1.
    """

    def __init__(
        self, model: Model, reader: Reader, *, kinds: Sequence[Kind] = DEFAULT_KINDS, batch_size: int = 1
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        self.model, self.reader, self.kinds, self.batch_size = model, reader, tuple(kinds), batch_size

    def run(
        self, paths: Sequence[Path], output: Path, *, report: Callable[[Outcome], None] = lambda outcome: None
    ) -> list[Outcome]:
        """Localise images, in the order given.

        Args:
            paths: the files.
            output: folder of all that is written, made where missing.
            report: called with each outcome as soon as it is known.

        Returns:
            One outcome for each path, in its order; nothing is raised for a bad image.

        Raises:
            ModelError: if the model gives no map that can be written.
            ReaderError: if no file can be decoded at all.
        """
        output.mkdir(parents=True, exist_ok=True)
        found: dict[int, Outcome] = {}

        def done(index: int, outcome: Outcome) -> None:
            found[index] = outcome
            report(outcome)

        batch: list[tuple[int, Source]] = []
        for index, path in enumerate(paths):
            got = self._begin(path, output)
            if isinstance(got, Outcome):
                done(index, got)
            else:
                batch.append((index, got))
            if batch and (len(batch) == self.batch_size or index == len(paths) - 1):
                self._finish(batch, output, done)
                batch = []
        return [found[index] for index in range(len(paths))]

    def _begin(self, path: Path, output: Path) -> Outcome | Source:
        """Read and gate one image, or find that it needs neither."""
        sha256 = ""
        try:
            sha256 = self.reader.digest(path)
            stem = stem_of(path, sha256)
            if kept := self._kept(path, sha256, output / f"{stem}.json"):
                return kept
            source = self.reader.read(path, sha256=sha256)
        except RefusedError as err:
            return Outcome(path=path, state="refused", reason=str(err), sha256=sha256)
        reason = self._problem(source)
        if not reason:
            return source
        record = {"key": self._key(sha256), "state": "cannot assess", "reason": reason, **_described(source)}
        write_json(output / f"{stem}.json", {"notice": NOTICE, **record})
        return Outcome(path=path, state="cannot assess", reason=reason, sha256=sha256, record=_described(source))

    def _problem(self, source: Source) -> str:
        height, width = source.pixels.shape[:2]
        if min(height, width) < LEAST_SIDE:
            return f"too small: {height} x {width} pixels, expected at least {LEAST_SIDE} a side"
        if all((row == source.pixels[0, 0]).all() for row in source.pixels):  # as a rule the first says no
            return "blank: every pixel has the same colour"
        return problem(measure(source.pixels)) if self.model.fundus else ""

    def _finish(self, batch: Sequence[tuple[int, Source]], output: Path, done: Callable[[int, Outcome], None]) -> None:
        try:
            localised: list[Localisation | Exception] = list(self.model.localise([source for _, source in batch]))
        except ModelError:
            raise
        except Exception as err:
            if len(batch) > 1:  # one image must not take the others with it
                for each in batch:
                    self._finish([each], output, done)
                return
            if os.environ.get(DEBUG) == "1":
                raise
            localised = [err]
        for (index, source), result in zip(batch, localised, strict=True):
            done(index, self._written(source, result, output))

    def _written(self, source: Source, found: Localisation | Exception, output: Path) -> Outcome:
        failed = partial(Outcome, path=source.path, sha256=source.sha256, state="failed")
        if isinstance(found, Exception):
            return failed(reason=_reason(found, doing="localised"))
        stem = stem_of(source.path, source.sha256)
        try:
            files, left_out = write_kinds(found, output, stem, kinds=self.kinds)
            record: dict[str, Any] = {**_measured(found), "files": {**files, "json": f"{stem}.json"}}
            if left_out:
                record["left_out"] = dict.fromkeys(left_out, "the source is no DICOM object")
            entry = {"notice": NOTICE, "key": self._key(source.sha256), "state": "ok", "reason": "", **record}
            write_json(output / f"{stem}.json", {**entry, "model": _identity(found.model)})
        except Exception as err:
            if os.environ.get(DEBUG) == "1":
                raise
            return failed(reason=_reason(err, doing="written"))
        return Outcome(path=source.path, sha256=source.sha256, state="ok", record=record)

    def _kept(self, path: Path, sha256: str, file: Path) -> Outcome | None:
        """An earlier run's outcome, if it is of the same image, model and options, and all its files are there."""
        try:
            entry = json.loads(file.read_text(encoding="utf-8"))
            if entry.pop("key") != self._key(sha256):
                return None
            record = {key: value for key, value in entry.items() if key not in ("notice", "state", "reason", "model")}
            if not all((file.parent / name).is_file() for name in record.get("files", {}).values()):
                return None
            return Outcome(
                path=path, state=entry["state"], reason=entry["reason"], sha256=sha256, record=record, kept=True
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _key(self, sha256: str) -> str:
        """Of all that decides about an image's results."""
        parts = [__version__, sha256, *self.model.identity.parts, *sorted({*self.kinds, "json"})]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def stem_of(path: Path, sha256: str) -> str:
    """The begin of an image's output names: the file's own name made safe, and a hash of its content and name."""
    tag = hashlib.sha256(f"{sha256}/{path.name}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
    name = path.name.removesuffix(".gz")
    return f"{safe_name(Path(name).stem)[:60]}-{tag}"


def write_results(
    outcomes: Iterable[Outcome], output: Path, *, model: ModelIdentity, kinds: Sequence[Kind] = DEFAULT_KINDS
) -> Path:
    """Write ``results.json``: the model, counts, and every image's outcome; and the page, if it is asked for.

    The same images, model and options give the same bytes.
    """
    # whether it was computed now or before is no property of a result
    found = [replace(outcome, kept=False) for outcome in outcomes]
    counts = {state: sum(each.state == state for each in found) for state in STATES}
    images = [each.as_json() for each in found]
    content = {"notice": NOTICE, "model": _identity(model), "counts": counts, "images": images}
    if "page" in kinds:
        from monai_cavga.clinical.write.index import write_index

        write_index(output, images, model=model)
    return write_json(output / RESULTS, content)


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Plain JSON; a number that is not finite becomes null."""
    text = json.dumps(_finite(content), indent=1, allow_nan=False, ensure_ascii=True)
    return write_atomic(path, (text + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _identity(model: ModelIdentity) -> dict[str, Any]:
    return {name: getattr(model, name) for name in model.__dataclass_fields__}


def _described(source: Source) -> dict[str, Any]:
    height, width = source.pixels.shape[:2]
    return {"height": height, "width": width, "laterality": source.laterality, "dicom": source.header is not None}


def _measured(found: Localisation) -> dict[str, Any]:
    return {
        **_described(found.source),
        "score": found.score,
        "percentile": None if math.isnan(found.percentile) else found.percentile,
        "threshold": found.threshold,
        "area": found.area,
        "field_of_view": float(found.fov.mean()),
    }


def _reason(err: Exception, *, doing: str) -> str:
    """One line; a library's own text may quote the file's header, so only its type is shown."""
    if isinstance(err, OSError) and err.strerror:
        return f"cannot be {doing}: {err.strerror}"
    return own_words(err) or f"cannot be {doing}: {type(err).__name__} ({DEBUG}=1 shows where)"
