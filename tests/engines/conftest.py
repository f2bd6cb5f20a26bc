"""A training small enough for tests: eleven non-square images, all variants, real sampler and augmentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, RandFlipd, RandGaussianNoised, ToTensord
from monai.utils import set_determinism

from monai_cavga.data import ResumableSampler, SeededDataset
from monai_cavga.engines import CAVGATrainer, loss_terms
from monai_cavga.handlers import TrainingStateHandler
from monai_cavga.losses import CAVGAObjective
from monai_cavga.networks import CAVGA, DCGANDiscriminator

ITEMS, BATCH = 11, 3  # four iterations an epoch, the last one of two images


class Run:
    """A trainer and the loss curve that it leaves: one dictionary of floats for each iteration."""

    def __init__(self, trainer: CAVGATrainer) -> None:
        self.trainer = trainer
        self.curve: dict[int, dict[str, float]] = {}
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._log)

    def _log(self, engine: Any) -> None:
        self.curve[engine.state.iteration] = loss_terms(engine.state.output)


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Build a training from scratch, as a new process would."""

    def build(
        *,
        epochs: int = 3,
        head: str = "none",
        architecture: str = "R",
        seed: int = 0,
        state: Path | None = None,
        every: int = 100,
        workers: int = 0,
        batch: int = BATCH,
        schedule: bool = False,
        handlers: list[Any] | None = None,
        objective: CAVGAObjective | None = None,
    ) -> Run:
        set_determinism(seed)
        random = np.random.default_rng(7)
        # dark above, bright below: something to learn, the same under a horizontal flip
        base = np.where(np.arange(64)[None, :, None] < 20, 0.1, 0.8).astype(np.float32)
        items = [
            {
                "image": base + 0.1 * random.random((3, 64, 96), dtype=np.float32),
                "label": int(head != "none" and i % 4 == 0),
            }
            for i in range(ITEMS)
        ]
        transform = Compose(
            [RandFlipd("image", 0.5, spatial_axis=1), RandGaussianNoised("image", 0.5), ToTensord("image")]
        )
        network = CAVGA(architecture=architecture, stages=2, latent_channels=8, head=head, image_size=(64, 96))
        discriminator = DCGANDiscriminator(channels=8)
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        all_handlers = list(handlers or [])
        if state is not None:
            schedulers = {"network": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)} if schedule else None
            if schedulers:
                all_handlers.append(_Step(schedulers["network"]))
            all_handlers.append(TrainingStateHandler(state, every=every, schedulers=schedulers))
        loader = DataLoader(
            SeededDataset(Dataset(items, transform), seed=seed),
            batch_size=batch,
            sampler=ResumableSampler(ITEMS, seed=seed),
            num_workers=workers,
        )
        return Run(
            CAVGATrainer(
                "cpu",
                epochs,
                loader,
                network,
                discriminator,
                optimizer,
                torch.optim.Adam(discriminator.parameters(), 1e-3),
                objective=objective,
                seed=seed,
                train_handlers=all_handlers,
            )
        )

    return build


class _Step:
    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: self.scheduler.step())
