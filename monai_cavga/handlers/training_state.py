"""One state file from which a killed training goes on as if it had never been interrupted."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from monai_cavga.handlers.files import write_atomic
from monai_cavga.networks.weights import plain_settings

if TYPE_CHECKING:
    from ignite.engine import Engine

__all__ = ["StateFileError", "TrainingStateHandler"]

_VERSION = 2  # 1: networks were not channels_last, and an optimiser may take its moments in the wrong order


def to_bytes(state: dict[str, Any]) -> bytes:
    """What ``torch.save`` writes of tensors and plain values; ``torch.load(weights_only=True)`` reads it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


class StateFileError(ValueError):
    """A state file that cannot be read or belongs to another training."""


class TrainingStateHandler:
    """Save everything that a training changes, and load it when the training starts again.

    Holds networks, both optimisers, schedulers, the iteration (hence epoch and sampler position) and the evaluator's
    best metric. Random numbers need no place in it: order, augmentation and noise are pure functions of seed and
    position (`ResumableSampler`, `SeededDataset`, `step_generator`). Written by the first process only, to a temporary
    name and renamed; read with ``weights_only=True``. Attach it after the handlers that validate and step schedulers.

    Args:
        path: the state file.
        every: iterations between two saves inside an epoch; it is always saved when an epoch ends.
        evaluator: whose ``best_metric`` is kept, so that a worse model does not overwrite a better one after a resume.
        schedulers: learning-rate schedulers by name.
        settings: options that a resumed training must share with the one that was killed: plain values.
        items: the training data list; its names and labels must be the same as well.
        resume: load ``path`` if it is there; False starts anew and overwrites it.

    Raises:
        ValueError: if ``every`` is below 1 or ``resume`` not a bool.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 100,
        evaluator: Any = None,
        schedulers: dict[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        items: Sequence[Mapping[str, Any]] | None = None,
        resume: bool = True,
    ) -> None:
        if every < 1:
            raise ValueError(f"every is {every}, expected at least 1 iteration between two saves")
        if not isinstance(resume, bool):  # the word "false" of a command line would count as true
            raise ValueError(f"resume is {resume!r}, expected True or False")
        self.path = Path(path)
        self.every = every
        self.evaluator = evaluator
        self.schedulers = dict(schedulers or {})
        self.settings = plain_settings(settings)
        if items is not None:
            listed = "\n".join(f"{item.get('name')} {item.get('label')}" for item in items)
            self.settings["training images"] = hashlib.sha256(listed.encode()).hexdigest()[:12]
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        """Attach to a `CAVGATrainer`.

        Raises:
            StateFileError: when the training starts, if the state file is unreadable or of another training.
        """
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self._load)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._save_in_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _parts(self, engine: Any) -> dict[str, Any]:
        return {**engine.trainables(), **{f"scheduler.{name}": s for name, s in self.schedulers.items()}}

    def _save_in_epoch(self, engine: Any) -> None:
        iteration, length = engine.state.iteration, engine.state.epoch_length
        # The end of an epoch is saved when validation has had its say, not before.
        if iteration % self.every == 0 and iteration % length != 0:
            self._save(engine)

    def _save(self, engine: Any) -> None:
        if engine.state.rank != 0:
            return
        state: dict[str, Any] = {
            "version": _VERSION,
            "iteration": engine.state.iteration,
            "epoch_length": engine.state.epoch_length,
            "seed": engine.seed,
            "settings": self.settings,
            "parts": {name: part.state_dict() for name, part in self._parts(engine).items()},
        }
        if self.evaluator is not None:
            state["best_metric"] = float(self.evaluator.state.best_metric)
            state["best_metric_epoch"] = int(self.evaluator.state.best_metric_epoch)
        write_atomic(self.path, to_bytes(state))

    def _load(self, engine: Any) -> None:
        if not self.resume or not self.path.is_file():
            return
        try:
            state = torch.load(self.path, map_location=engine.state.device, weights_only=True)
            version = state["version"]
        except Exception as error:
            raise StateFileError(
                f"state file {self.path} cannot be read ({type(error).__name__}): delete it to start anew"
            ) from error
        expected = {"version": _VERSION, "epoch_length": engine.state.epoch_length, "seed": engine.seed}
        got = {"version": version, "epoch_length": state["epoch_length"], "seed": state["seed"]}
        if got != expected:
            raise StateFileError(
                f"state file {self.path} is of another training, got {got}, expected {expected}: "
                "use the data, batch size and seed it was saved with, or delete it to start anew"
            )
        for name, value in self.settings.items():
            saved = state.get("settings", {}).get(name)
            if saved != value:
                raise StateFileError(
                    f"state file {self.path} is of another training, got {name} {saved}, "
                    f"expected {value}: use the options it was saved with, delete it, or pass --resume False"
                )
        parts = self._parts(engine)
        if set(parts) != set(state["parts"]):
            raise StateFileError(
                f"state file {self.path} holds {sorted(state['parts'])}, expected {sorted(parts)}: "
                "delete it to start anew"
            )
        try:
            for name, part in parts.items():
                part.load_state_dict(state["parts"][name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise StateFileError(
                f"state file {self.path} is of another architecture ({str(error).splitlines()[0]}): "
                "build the networks with the options it was saved with, or delete it to start anew"
            ) from error
        engine.state.iteration = state["iteration"]
        engine.state.epoch = state["iteration"] // state["epoch_length"]
        if self.evaluator is not None and "best_metric" in state:
            self.evaluator.state.best_metric = state["best_metric"]
            self.evaluator.state.best_metric_epoch = state["best_metric_epoch"]
        if engine.state.rank == 0:
            left = engine.state.max_epochs - engine.state.iteration / engine.state.epoch_length
            what = f"{left:.3g} epochs to go" if left > 0 else "nothing left to do: more --epochs, or --resume False"
            print(f"resumed from {self.path} at iteration {engine.state.iteration}, {what}", flush=True)
