"""CAVGATrainer: what a step changes, what it reports, and that it is a pure function of seed and position."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.data import Dataset
from monai.engines.utils import IterationEvents

from monai_cavga.engines import CAVGATrainer, loss_terms, step_generator
from monai_cavga.engines.trainer import _frozen
from monai_cavga.losses import CAVGAObjective
from monai_cavga.networks import CAVGA

U_TERMS = {"reconstruction", "kl", "adversarial", "attention_expansion", "loss", "discriminator"}
W_TERMS = U_TERMS - {"attention_expansion"} | {"classification", "complementary_guided_attention"}


@pytest.mark.parametrize(("head", "terms"), [("none", U_TERMS), ("flat", W_TERMS), ("conv", W_TERMS)])
def test_a_step_moves_every_part_and_names_its_terms(make_run, head, terms):
    run = make_run(epochs=1, head=head)
    parts = {
        "encoder": run.trainer.network.encoder,
        "decoder": run.trainer.network.decoder,
        "latent": run.trainer.network.latent,
        "discriminator": run.trainer.discriminator,
    }
    if head != "none":
        parts["classifier"] = run.trainer.network.classifier
    before = {name: [p.detach().clone() for p in part.parameters()] for name, part in parts.items()}
    run.trainer.run()
    assert set(run.curve[1]) == terms
    for name, part in parts.items():
        assert any(not torch.equal(old, new) for old, new in zip(before[name], part.parameters(), strict=True)), name


@pytest.mark.parametrize("architecture", ["R", "D"])
def test_two_runs_with_one_seed_have_identical_curves_and_another_seed_does_not(make_run, architecture):
    curves = []
    for seed in (3, 3, 4):
        run = make_run(epochs=2, seed=seed, architecture=architecture)
        run.trainer.run()
        curves.append(run.curve)
    assert len(curves[0]) == 8
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_the_curve_does_not_depend_on_the_number_of_workers(make_run):
    curves = []
    for workers in (0, 1):
        run = make_run(epochs=1, workers=workers)
        run.trainer.run()
        curves.append(run.curve)
    assert curves[0] == curves[1]


def test_it_learns_to_reconstruct(make_run):
    """Without the adversary, which at this size and weight 1 hides the fall for hundreds of steps."""
    run = make_run(epochs=12, objective=CAVGAObjective(w_adv=0))
    run.trainer.run()
    first = sum(run.curve[i]["reconstruction"] for i in range(1, 5))
    last = sum(run.curve[i]["reconstruction"] for i in range(45, 49))
    assert last < 0.85 * first


def test_monai_events_fire_once_a_step_with_the_output_in_place(make_run):
    run = make_run(epochs=1)
    seen: list[str] = []
    for event in (
        IterationEvents.FORWARD_COMPLETED,
        IterationEvents.LOSS_COMPLETED,
        IterationEvents.BACKWARD_COMPLETED,
        IterationEvents.MODEL_COMPLETED,
    ):
        run.trainer.add_event_handler(event, lambda engine, name: seen.append(name), event.name)

    def look(engine):
        assert engine.state.output["pred"].shape == engine.state.output["image"].shape
        assert not engine.state.output["pred"].requires_grad

    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, look)
    run.trainer.run()
    assert seen[:4] == ["FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED"]
    assert len(seen) == 16


def test_the_discriminator_is_trained_by_its_own_loss_only(make_run):
    """The network's backward pass leaves no gradient of the generator's loss on D, and D's flags are as before."""
    run = make_run(epochs=1)
    grads: list[list[torch.Tensor]] = []

    def keep(engine):
        grads.append([p.grad.clone() for p in engine.discriminator.parameters()])

    run.trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, keep)
    run.trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, keep)
    run.trainer.run()
    assert all(torch.equal(a, b) for a, b in zip(grads[0], grads[1], strict=True))
    assert all(p.requires_grad for p in run.trainer.discriminator.parameters())


def test_frozen_restores_also_after_an_error():
    module = torch.nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    inside = []

    def fail():
        with _frozen(module):
            inside.append(module.weight.requires_grad)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert inside == [False]
    assert module.weight.requires_grad
    assert not module.bias.requires_grad


def test_amp_computes_in_bfloat16_and_reports_float32(make_run):
    run = make_run(epochs=1)
    run.trainer.amp = True
    seen = []
    run.trainer.network.encoder.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    run.trainer.run()
    assert set(seen) == {torch.bfloat16}
    assert run.trainer.state.output["loss"].dtype == torch.float32
    assert all(torch.isfinite(torch.tensor(list(terms.values()))).all() for terms in run.curve.values())


def test_loss_terms_leave_out_everything_but_scalars():
    output = {"loss": torch.tensor(1.5), "image": torch.zeros(1, 3, 4, 4), "label": torch.tensor(1), "name": "a"}
    assert loss_terms(output) == {"loss": 1.5}


def test_step_generator_is_a_function_of_its_arguments():
    def draw(*args, **kwargs):
        return torch.randn(3, generator=step_generator(*args, **kwargs)).tolist()

    assert draw(1, 2) == draw(1, 2, rank=0)
    assert len({tuple(draw(*a)) for a in [(1, 2), (2, 2), (1, 3), (12, 2), (1, 22)]}) == 5
    assert draw(1, 2, rank=1) != draw(1, 2)


def test_max_epochs_is_checked(make_run):
    with pytest.raises(ValueError, match="max_epochs is 0, expected at least 1"):
        make_run(epochs=0)


def test_a_network_with_nothing_to_train_is_refused():
    network = CAVGA(head="none", decoder=False, stages=2)
    discriminator = torch.nn.Flatten()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"neither decoder nor classifier.*decoder=True or a head"):
        CAVGATrainer("cpu", 1, [{"image": torch.rand(1, 3, 16, 24)}], network, discriminator, optimizer, optimizer)


@pytest.mark.parametrize(
    ("head", "labels", "message"),
    [
        ("none", [0, 1, 1], "hold 2 anomalous images and the network has no classifier"),
        ("conv", [0, 0, 0], "hold no anomalous image: pass --labelled N, made anomalies .* or --head none"),
        ("pyramid", [0, 0, 0], "the network has a classifier and the training data hold no anomalous image"),
    ],
)
def test_labels_and_classifier_belong_together(make_run, head, labels, message):
    """Otherwise L_ae would be pushed up on anomalous images, or C trained on one class."""
    trainer = make_run(epochs=1, head=head).trainer
    data = [{"image": torch.zeros(3, 64, 96), "label": label} for label in labels]
    loader = torch.utils.data.DataLoader(Dataset(data), batch_size=1)
    with pytest.raises(ValueError, match=message):
        CAVGATrainer("cpu", 1, loader, trainer.network, trainer.discriminator, trainer.optimizer, trainer.optimizer)
