"""Handlers that turn an engine's output into pictures: TensorBoard panels, PNG panels, files for each image.

All read ``engine.state.output``, a list of one dict for each image (``decollate=True``, MONAI's default), after the
engine's post-processing. They change nothing in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from monai_cavga.handlers.colour import Array
from monai_cavga.handlers.files import NOTICE, save_png, unique_stem
from monai_cavga.handlers.localisation import LocalisationHandler
from monai_cavga.handlers.outputs import check_positive, label_of, outputs_of
from monai_cavga.handlers.panels import Attends, Scales, contact_sheet, panel

__all__ = ["LocalisationHandler", "PanelHandler", "TensorBoardPanelHandler"]

_SHEET_ROWS = 12  # a contact sheet is for looking at: more rows than this no screen shows, and memory stays bounded


class TensorBoardPanelHandler:
    """Write panels of the first images of a validation to TensorBoard, one slider for each image.

    Attach it to the evaluator. A panel holds input, reconstruction, residual, attention, anomaly map and mask; what the
    output lacks is an empty tile. Only the first process of a distributed run writes. The writer opened here is flushed
    after each validation and closed by `close`, which the end of ``trainer`` calls.

    Args:
        log_dir: folder of the event files; or give ``summary_writer``.
        summary_writer: a writer of the caller, who closes it.
        interval: write when the epoch is a multiple of this.
        max_images: panels in each validation.
        scales: ``{map: (low, high)}``, see `monai_cavga.handlers.panels.panel`.
        trainer: engine whose epoch is the step; else that of the engine attached to, which MONAI's
            ``ValidationHandler`` sets to the trainer's.
        primary: key of the map laid over the image.
        attends: whose attention it is, see `panel`.
        tag: first part of the tags.

    Raises:
        ValueError: unless exactly one of ``log_dir`` and ``summary_writer`` is given, or a number is below 1.
    """

    def __init__(
        self,
        log_dir: str | Path | None = None,
        *,
        summary_writer: Any = None,
        interval: int = 1,
        max_images: int = 4,
        scales: Scales | None = None,
        trainer: Engine | None = None,
        primary: str = "attention",
        attends: Attends = "normal",
        tag: str = "panels",
    ) -> None:
        if (log_dir is None) == (summary_writer is None):
            raise ValueError(
                "got both or none of log_dir and summary_writer, expected exactly one: say where panels go"
            )
        check_positive(interval=interval, max_images=max_images)
        self.log_dir = log_dir
        self.interval = interval
        self.max_images = max_images
        self.scales = scales
        self.trainer = trainer
        self.primary: str = primary
        self.attends: Attends = attends
        self.tag = tag
        self._given = summary_writer
        self._opened: Any = None
        self._panels: list[tuple[str, Array]] = []
        self._used: set[str] = set()

    def attach(self, engine: Engine) -> None:
        """Register with the engine whose outputs are drawn."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)
        if self.trainer is not None:
            self.trainer.add_event_handler(Events.COMPLETED, self.close)

    def close(self) -> None:
        """Close the writer that was opened here; a later validation opens another."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _epoch(self, engine: Engine) -> int:
        return int((self.trainer or engine).state.epoch)

    def _begin(self, engine: Engine) -> None:
        self._panels, self._used = [], set()

    def _collect(self, engine: Engine) -> None:
        if idist.get_rank() != 0 or self._epoch(engine) % self.interval or len(self._panels) >= self.max_images:
            return
        for name, _, item in outputs_of(engine)[: self.max_images - len(self._panels)]:
            row = panel(item, scales=self.scales, primary=self.primary, attends=self.attends, name=name)
            self._panels.append((unique_stem(name, [""], self._used), row))

    def _write(self, engine: Engine) -> None:
        if not self._panels:
            return
        writer = self._given or self._open()
        for name, row in self._panels:
            writer.add_image(f"{self.tag}/{name}", row, self._epoch(engine), dataformats="HWC")
        writer.flush()
        self._panels = []

    def _open(self) -> Any:
        if self._opened is None:
            from torch.utils.tensorboard import (
                SummaryWriter,
            )  # two seconds of import, and only the first process writes

            self._opened = SummaryWriter(log_dir=str(self.log_dir))
        return self._opened


class PanelHandler:
    """Write ``<name>_panel.png`` for the first images of a run and ``contact_sheet.png`` of them at its end.

    At most half of ``maximum``, rounded up, carry one label, so that a test set which starts with its normals shows
    anomalous images too; where a run has one label only, half of ``maximum`` is written. Images without a label fill
    any place. The sheet holds at most twelve rows, chosen by the same rule. Only the first process of a distributed
    run writes.

    Args:
        output_dir: folder, made where missing.
        maximum: images in each run; None for all, of which the sheet still shows at most six of one label.
        scales: ``{map: (low, high)}``, see `monai_cavga.handlers.panels.panel`.
        primary: key of the map laid over the image.
        attends: whose attention it is, see `panel`.

    Raises:
        ValueError: if ``maximum`` is below 1.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        maximum: int | None = 16,
        scales: Scales | None = None,
        primary: str = "attention",
        attends: Attends = "normal",
    ) -> None:
        if maximum is not None:
            check_positive(maximum=maximum)
        self.output_dir = Path(output_dir)
        self.maximum = maximum
        self.scales = scales
        self.primary: str = primary
        self.attends: Attends = attends
        self._written: list[int | None] = []  # the label of each panel, None where it has none
        self._shown: list[int | None] = []  # the same for the rows of the sheet
        self._rows: list[Array] = []
        self._used: set[str] = set()

    def attach(self, engine: Engine) -> None:
        """Register with the engine whose outputs are drawn."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _begin(self, engine: Engine) -> None:
        self._written, self._shown, self._rows, self._used = [], [], [], set()

    def _write(self, engine: Engine) -> None:
        if idist.get_rank() != 0:
            return
        for name, _, item in outputs_of(engine):
            label = label_of(item)
            if self.maximum is not None and not _has_room(self._written, label, limit=self.maximum):
                continue
            row = panel(item, scales=self.scales, primary=self.primary, attends=self.attends, name=name)
            stem = unique_stem(name, ["_panel.png"], self._used)
            save_png(self.output_dir / f"{stem}_panel.png", row, text={"notice": NOTICE})
            self._written.append(label)
            if _has_room(self._shown, label, limit=min(self.maximum or _SHEET_ROWS, _SHEET_ROWS)):
                self._shown.append(label)
                self._rows.append(row)

    def _finish(self, engine: Engine) -> None:
        if self._rows:
            save_png(self.output_dir / "contact_sheet.png", contact_sheet(self._rows), text={"notice": NOTICE})
        self._rows = []


def _has_room(taken: list[int | None], label: int | None, *, limit: int) -> bool:
    """Whether one more image fits: below ``limit``, and with a label below half of it, rounded up."""
    return len(taken) < limit and (label is None or taken.count(label) < (limit + 1) // 2)
