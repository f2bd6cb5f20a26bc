"""CAVGATrainer without a decoder and on masks of made anomalies: what moves, what is named, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import Dataset
from torch import Tensor

from monai_cavga.engines import CAVGATrainer, loss_terms, parameter_groups
from monai_cavga.losses import CAVGAObjective
from monai_cavga.networks import CAVGA, DCGANDiscriminator

HEIGHT, WIDTH = 32, 48
TERMS = {"classification", "complementary_guided_attention", "mask", "mirror", "loss"}


def batches(count: int = 4, *, seed: int = 0) -> list[dict[str, Tensor]]:
    """Noise, in every second image a bright rectangle, its mask known but for a frame."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for k in range(count):
        image = 0.3 + 0.1 * torch.rand(2, 3, HEIGHT, WIDTH, generator=generator)
        mask = torch.zeros(2, 1, HEIGHT, WIDTH)
        rows, columns = slice(8 + k, 20 + k), slice(12 + 2 * k, 28 + 2 * k)
        image[1, :, rows, columns] += 0.5
        mask[1, :, rows, columns] = 1
        mask[..., :2] = -1
        found.append({"image": image, "label": torch.tensor([0, 1]), "mask": mask})
    return found


def train(
    *, epochs: int = 1, decoder: bool = False, amp: bool = False, data: Any = None, **weights: float
) -> tuple[CAVGATrainer, list[dict[str, float]]]:
    """Train from a seed; returns the trainer and the terms of each step."""
    torch.manual_seed(0)
    network = CAVGA(stages=2, latent_channels=4, head="pyramid", decoder=decoder, frozen_norm=True)
    discriminator = DCGANDiscriminator(channels=4, depth=3)
    trainer = CAVGATrainer(
        "cpu",
        epochs,
        batches() if data is None else data,
        network,
        discriminator,
        torch.optim.Adam(parameter_groups(network, learning_rate=5e-3, encoder_learning_rate=5e-4)),
        torch.optim.Adam(discriminator.parameters(), 1e-3),
        objective=CAVGAObjective(**{"w_c": 0.2, "w_mask": 1.0, "w_mirror": 0.2, **weights}),
        amp=amp,
    )
    curve: list[dict[str, float]] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: curve.append(loss_terms(engine.state.output)))
    return trainer, curve


def test_a_step_without_a_decoder_leaves_the_discriminator_alone() -> None:
    trainer, curve = train()
    before = {name: value.clone() for name, value in trainer.discriminator.state_dict().items()}
    head = [p.detach().clone() for p in trainer.network.pyramid_classifier.parameters()]  # type: ignore[union-attr]
    layer = trainer.network.encoder.layer1[0].conv1.weight.detach().clone()  # type: ignore[union-attr,index]
    outputs: list[set[str]] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(set(engine.state.output)))
    trainer.run()
    assert len(curve) == 4
    assert all(set(terms) == TERMS for terms in curve)
    assert outputs[0] == TERMS | {"image", "label"}  # neither a reconstruction nor a loss of D
    assert all(torch.equal(value, before[name]) for name, value in trainer.discriminator.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in trainer.discriminator.parameters())
    after = trainer.network.pyramid_classifier.parameters()  # type: ignore[union-attr]
    assert all(not torch.equal(a, b) for a, b in zip(head, after, strict=True))
    assert not torch.equal(layer, trainer.network.encoder.layer1[0].conv1.weight)  # type: ignore[union-attr,index]


def test_the_loss_falls_and_the_map_finds_the_mask() -> None:
    trainer, curve = train(epochs=10)
    trainer.run()
    first, last = curve[:4], curve[-4:]
    for name in ("loss", "mask", "mirror"):
        assert sum(t[name] for t in last) < 0.8 * sum(t[name] for t in first), name
    batch = batches(1, seed=9)[0]
    with torch.no_grad():
        probability = trainer.network.eval().anomaly_maps(batch["image"], ["class"])  # type: ignore[operator]
    assert probability[batch["mask"] == 1].mean() > 3 * probability[batch["mask"] == 0].mean()


def test_a_decoder_and_masks_go_together() -> None:
    trainer, curve = train(decoder=True, data=batches(2))
    before = [p.detach().clone() for p in trainer.discriminator.parameters()]
    trainer.run()
    assert set(curve[0]) == TERMS | {"reconstruction", "kl", "adversarial", "discriminator"}
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.discriminator.parameters(), strict=True))


def test_two_runs_are_the_same() -> None:
    curves = []
    for _ in range(2):
        trainer, curve = train(data=batches(2))
        trainer.run()
        curves.append(curve)
    assert curves[0] == curves[1]


def test_amp_reports_finite_float32() -> None:
    trainer, curve = train(amp=True, data=batches(1))
    trainer.run()
    assert trainer.state.output["loss"].dtype == torch.float32
    assert all(torch.isfinite(torch.tensor(list(terms.values()))).all() for terms in curve)


def test_a_batch_without_masks_is_one_clear_error() -> None:
    data = [{key: value for key, value in batch.items() if key != "mask"} for batch in batches(1)]
    trainer, _ = train(data=data)
    trainer.logger.disabled = True
    with pytest.raises(ValueError, match="w_mask or w_mirror is not 0 and there is no mask or no C at every position"):
        trainer.run()


@pytest.mark.parametrize(("w_mask", "accepted"), [(1.0, True), (0.0, False)])
def test_made_anomalies_allow_a_list_of_normal_images(w_mask: float, accepted: bool) -> None:
    """The list holds normal images only; the transforms make some anomalous."""
    data = [{"image": torch.zeros(3, HEIGHT, WIDTH), "label": 0} for _ in range(3)]
    loader = torch.utils.data.DataLoader(Dataset(data), batch_size=1)
    if accepted:
        trainer, _ = train(data=loader, w_mask=w_mask)
        assert trainer.state.epoch_length == 3
    else:
        with pytest.raises(ValueError, match=r"made anomalies \(--supervision synthetic\), or --head none"):
            train(data=loader, w_mask=w_mask)
