"""Keep the model of the best validation, across restarts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from monai_cavga.handlers.files import write_atomic
from monai_cavga.handlers.training_state import to_bytes
from monai_cavga.networks.weights import plain_settings

if TYPE_CHECKING:
    from ignite.engine import Engine

__all__ = ["BestModelHandler"]


class BestModelHandler:
    """Save a model whenever its evaluator's key metric is the best so far.

    MONAI's ``CheckpointSaver`` forgets the best metric when a training is resumed and overwrites a better model; this
    follows ``engine.state.best_metric``, which `TrainingStateHandler` restores. Writes ``{"model": state_dict,
    "settings": ...}`` to a temporary name and renames it, on the first process only; `load_model` and MONAI's
    ``ckpt_export`` read it.

    Args:
        model: the module to save, for example the `CAVGALocalizer` around the network in training.
        path: the file, by MONAI's custom ``models/model.pt``.
        settings: options of the training, plain values; kept in the file, compared by `load_model`.
    """

    def __init__(
        self, model: nn.Module, path: str | os.PathLike[str], *, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.model = model
        self.path = Path(path)
        self.settings = plain_settings(settings)

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator that validates during training."""
        from ignite.engine import Events

        engine.add_event_handler(Events.COMPLETED, self._save_if_best)

    def _save_if_best(self, engine: Any) -> None:
        if engine.state.rank == 0 and engine.state.best_metric_epoch == engine.state.epoch:
            write_atomic(self.path, to_bytes({"model": self.model.state_dict(), "settings": self.settings}))
