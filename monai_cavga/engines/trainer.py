"""CAVGATrainer: one step of CAVGA_u or CAVGA_w inside MONAI's event system."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from monai.data import MetaTensor
from monai.engines.trainer import Trainer
from monai.engines.utils import IterationEvents, default_prepare_batch
from monai.engines.workflow import Workflow
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from monai_cavga.engines.randomness import step_generator
from monai_cavga.losses import CAVGAObjective, discriminator_loss

if TYPE_CHECKING:
    from ignite.engine import Engine
    from ignite.metrics import Metric
    from torch.optim import Optimizer

__all__ = ["CAVGATrainer", "loss_terms"]


class CAVGATrainer(Trainer):
    """Train encoder, decoder and classifier against a discriminator; eq. 4 or 6 and eq. 2, arXiv:1911.08616.

    A step: one pass through the network; D on the images and on the *detached* reconstructions, D's update; D again,
    frozen, on the reconstructions, the network's update. ``engine.state.output`` holds ``image``, ``label``, ``pred``
    (the reconstruction) and the loss terms as detached tensors: nothing is copied from the device in a step.

    A step is a pure function of the networks, the batch, ``seed`` and the iteration's number, so a run that is killed
    and goes on from a state file equals one that was never killed (`monai_cavga.handlers.TrainingStateHandler`). If
    the loader's sampler has ``set_position(epoch, start=)``, it is called when an epoch starts, ``start`` being the
    items of the epoch already seen.

    Args:
        device: where to train.
        max_epochs: epochs to train.
        train_data_loader: gives dictionaries with ``image`` and, for CAVGA_w, ``label`` (a tensor, 1 = anomalous);
            ``mask`` ``(B, 1, H, W)`` where anomalies are made: 1 anomalous, 0 normal, -1 unknown.
        network: `CAVGA`, or it wrapped for distributed training.
        discriminator: image ``(B, C, H, W)`` to logits ``(B,)``, or it wrapped; idle if the network has no decoder.
        optimizer: of ``network``'s parameters.
        discriminator_optimizer: of ``discriminator``'s.
        objective: default `CAVGAObjective` with the paper's weights.
        seed: of the latent's noise; the process's rank is mixed in.
        amp: compute the forward passes, attention among them, in bfloat16, which needs no loss scaling; losses are
            computed in float32.
        non_blocking: copy batches asynchronously.
        prepare_batch: gives image and label from a batch.
        key_train_metric: see MONAI's ``Trainer``.
        additional_metrics: see MONAI's ``Trainer``.
        train_handlers: handlers with ``attach(engine)``.

    Raises:
        ValueError: if ``max_epochs`` is below 1, the network has neither decoder nor classifier, or the
            loader's data list has anomalous images and the network no classifier to tell them from normal ones, or a
            classifier and no anomalous image.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Any,
        network: nn.Module,
        discriminator: nn.Module,
        optimizer: Optimizer,
        discriminator_optimizer: Optimizer,
        *,
        objective: CAVGAObjective | None = None,
        seed: int = 0,
        amp: bool = False,
        non_blocking: bool = False,
        prepare_batch: Callable[..., Any] = default_prepare_batch,
        key_train_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        if max_epochs < 1:
            raise ValueError(f"max_epochs is {max_epochs}, expected at least 1")
        self.objective = objective if objective is not None else CAVGAObjective()
        _check_trainable(network)
        _check_labels(train_data_loader, network, made=self.objective.weights["w_mask"] > 0)
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            non_blocking=non_blocking,
            prepare_batch=prepare_batch,
            key_metric=key_train_metric,
            additional_metrics=additional_metrics,
            handlers=train_handlers,
            amp=amp,
            decollate=False,  # would copy every loss to the host at every step
        )
        self.network = network
        self.discriminator = discriminator
        self.optimizer = optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.seed = seed

        from ignite.engine import Events  # MONAI's own modules import ignite lazily as well

        self.add_event_handler(Events.EPOCH_STARTED, _position_sampler)

    def run(self) -> None:  # type: ignore[override]  # as MONAI's
        """Train from the current state to ``max_epochs``."""
        Workflow.run(self)  # MONAI's Trainer.run makes a CUDA scaler, which bfloat16 does not need

    def trainables(self) -> dict[str, Any]:
        """Everything that a step changes, by name: what a state file must hold."""
        return {
            "network": unwrap(self.network),
            "discriminator": unwrap(self.discriminator),
            "optimizer": self.optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def _iteration(self, engine: CAVGATrainer, batchdata: dict[str, Tensor]) -> dict[str, Any]:
        image, label = self.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)[:2]
        image = _plain(image)
        label = _plain(label) if isinstance(label, Tensor) else None
        mask = batchdata.get("mask")
        device = torch.device(engine.state.device)
        if mask is not None:
            mask = _plain(mask).to(device, non_blocking=engine.non_blocking)

        self.network.train()
        self.discriminator.train()
        generator = step_generator(self.seed, engine.state.iteration, rank=engine.state.rank, device=device)
        noise = torch.randn(unwrap(self.network).noise_shape(image), generator=generator, device=device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=engine.amp):
            output = self.network(image, noise)
        reconstruction = None if output.reconstruction is None else output.reconstruction.float()
        engine.state.output = {Keys.IMAGE: image, Keys.LABEL: label}
        if reconstruction is not None:
            engine.state.output[Keys.PRED] = reconstruction.detach()
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)

        d_loss = None if reconstruction is None else self._judge(image, reconstruction.detach(), amp=engine.amp)
        with _frozen(unwrap(self.discriminator)) as judge:
            judged = None
            if reconstruction is not None:
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=engine.amp):
                    judged = judge(reconstruction).float()
            terms = self.objective(_float(output), image, fake_logits=judged, label=label, mask=mask)
            engine.fire_event(IterationEvents.LOSS_COMPLETED)
            self.optimizer.zero_grad(set_to_none=True)
            terms["loss"].backward()  # type: ignore[no-untyped-call]
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self.optimizer.step()

        engine.state.output.update({name: term.detach() for name, term in terms.items()})
        if d_loss is not None:
            engine.state.output["discriminator"] = d_loss
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        output_of_step: dict[str, Any] = engine.state.output
        return output_of_step

    def _judge(self, image: Tensor, reconstruction: Tensor, *, amp: bool) -> Tensor:
        """D's own step on images and detached reconstructions; its loss, detached."""
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=amp):
            real_logits = self.discriminator(image)
            fake_logits = self.discriminator(reconstruction)
        loss = discriminator_loss(real_logits.float(), fake_logits.float())
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.discriminator_optimizer.step()
        return loss.detach()


def loss_terms(output: Mapping[str, Any]) -> dict[str, float]:
    """The scalar losses of a step as floats, for ``output_transform`` of MONAI's and ignite's handlers.

    Args:
        output: ``engine.state.output`` of `CAVGATrainer`.
    """
    return {
        name: float(value)
        for name, value in output.items()
        if isinstance(value, Tensor) and value.ndim == 0 and name != Keys.LABEL
    }


def unwrap(module: nn.Module) -> Any:
    """The module inside a wrapper for distributed training, or the module itself."""
    return module.module if isinstance(module, DistributedDataParallel) else module


def _check_trainable(network: nn.Module) -> None:
    bare = unwrap(network)
    parts = ("decoder", "classifier", "pyramid_classifier")
    if hasattr(bare, "decoder") and all(getattr(bare, part, None) is None for part in parts):
        raise ValueError(
            "the network has neither decoder nor classifier, so that nothing is to train: build it with decoder=True "
            "or a head, or calibrate its latent distance without training"
        )


def _check_labels(loader: Any, network: nn.Module, *, made: bool) -> None:
    """Refuse to train CAVGA_u on anomalous images as normal ones, or C on one class; looks at data lists only."""
    items = getattr(getattr(loader, "dataset", None), "data", None)
    if not isinstance(items, Sequence) or not all(isinstance(item, Mapping) and "label" in item for item in items):
        return
    anomalous = sum(int(item["label"]) for item in items)
    bare = unwrap(network)
    heads = (getattr(bare, "classifier", None), getattr(bare, "pyramid_classifier", None))
    classifier = any(head is not None for head in heads)
    if anomalous and not classifier:
        raise ValueError(
            f"training data hold {anomalous} anomalous images and the network has no classifier, expected normal "
            "images only: pass --head conv, flat or pyramid, or --labelled 0"
        )
    if classifier and not anomalous and not made:
        raise ValueError(
            "the network has a classifier and the training data hold no anomalous image: "
            "pass --labelled N, made anomalies (--supervision synthetic), or --head none"
        )


class _frozen:  # noqa: N801 - reads as a word in a with statement
    """A module whose parameters take no gradient inside the block; restores what was there before."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.before = [(parameter, parameter.requires_grad) for parameter in module.parameters()]

    def __enter__(self) -> nn.Module:
        for parameter, _ in self.before:
            parameter.requires_grad_(False)
        return self.module

    def __exit__(self, *error: object) -> None:
        for parameter, required in self.before:
            parameter.requires_grad_(required)


def _position_sampler(engine: Engine) -> None:
    """Tell the sampler where in which epoch to begin; the items already seen are skipped after a resume."""
    loader: Any = engine.data_loader  # type: ignore[attr-defined]
    position = getattr(getattr(loader, "sampler", None), "set_position", None)
    if position is not None:
        state = engine.state
        steps = state.iteration - (state.epoch - 1) * (state.epoch_length or 0)
        position(state.epoch - 1, start=steps * loader.batch_size)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def _float(output: Any) -> Any:
    """The network's output in float32, whatever it was computed in."""
    return output._replace(
        **{name: value.float() for name, value in output._asdict().items() if isinstance(value, Tensor)}
    )
