"""Eq. 4 and 6: the sum by hand, the weights of the paper, and that each term trains the encoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monai_cavga.losses import (
    CAVGAObjective,
    attention_expansion_loss,
    complementary_guided_attention_loss,
    generator_loss,
    generator_loss_literal,
    kl_divergence,
    reconstruction_loss,
)
from monai_cavga.networks import CAVGA, CAVGAOutput, DCGANDiscriminator

HEIGHT, WIDTH = 32, 48
COMMON = ["reconstruction", "kl", "adversarial"]
UNSUPERVISED = [*COMMON, "attention_expansion"]
WEAK = [*COMMON, "classification", "complementary_guided_attention"]


def output(*, weak: bool) -> CAVGAOutput:
    """A network's output for two images, drawn."""
    g = torch.Generator().manual_seed(0)
    return CAVGAOutput(
        reconstruction=torch.rand(2, 3, 4, 6, generator=g),
        reconstruction_logits=torch.randn(2, 3, 4, 6, generator=g),
        mean=torch.randn(2, 5, 2, 3, generator=g),
        log_variance=torch.randn(2, 5, 2, 3, generator=g),
        features=torch.rand(2, 7, 2, 3, generator=g),
        attention=torch.rand(2, 1, 2, 3, generator=g),
        logits=torch.tensor([[1.0, 0.0], [0.5, -0.5]]) if weak else None,
        class_attention=torch.rand(2, 2, 2, 3, generator=g) if weak else None,
    )


IMAGE = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
FAKE = torch.tensor([0.3, -1.2])
LABEL = torch.tensor([0, 1])


def test_unsupervised_sum_is_eq_4() -> None:
    out = output(weak=False)
    terms = CAVGAObjective(w_r=2.0, w_adv=3.0, w_ae=5.0)(out, IMAGE, fake_logits=FAKE)
    reconstruction = reconstruction_loss(out.reconstruction_logits, IMAGE)
    kl = kl_divergence(out.mean, out.log_variance, values=3 * 4 * 6)
    expansion = attention_expansion_loss(out.attention)
    assert list(terms) == [*UNSUPERVISED, "loss"]
    assert terms["reconstruction"] == reconstruction
    assert terms["kl"] == kl
    assert terms["adversarial"] == generator_loss(FAKE)
    assert terms["attention_expansion"] == expansion
    torch.testing.assert_close(terms["loss"], 2 * (reconstruction + kl) + 3 * generator_loss(FAKE) + 5 * expansion)


def test_weak_sum_is_eq_6() -> None:
    out = output(weak=True)
    terms = CAVGAObjective(w_r=2.0, w_adv=3.0, w_ae=100.0, w_c=5.0, w_cga=7.0)(
        out, IMAGE, fake_logits=FAKE, label=LABEL
    )
    assert list(terms) == [*WEAK, "loss"]
    # a softmax of two outputs: margins of the true class are 1 - 0 = 1 and -0.5 - 0.5 = -1
    bce = (torch.log1p(torch.exp(torch.tensor(-1.0))) + torch.log1p(torch.exp(torch.tensor(1.0)))) / 2
    torch.testing.assert_close(terms["classification"], bce)
    assert out.class_attention is not None
    assert out.logits is not None
    cga = complementary_guided_attention_loss(out.class_attention, out.logits, LABEL)
    assert terms["complementary_guided_attention"] == cga
    expected = 2 * (terms["reconstruction"] + terms["kl"]) + 3 * terms["adversarial"] + 5 * bce + 7 * cga
    torch.testing.assert_close(terms["loss"], expected)  # no L_ae in eq. 6


def test_the_weights_are_the_papers() -> None:
    assert CAVGAObjective().weights == {"w_r": 1, "w_adv": 1, "w_ae": 0.01, "w_c": 0.001, "w_cga": 0.01}


def test_a_term_of_weight_0_is_reported_but_not_summed() -> None:
    out = output(weak=False)
    terms = CAVGAObjective(w_ae=0.0, w_adv=0.0)(out, IMAGE, fake_logits=FAKE)
    assert terms["attention_expansion"] > 0
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + terms["kl"])


def test_literal_form() -> None:
    terms = CAVGAObjective(adversarial="literal")(output(weak=False), IMAGE, fake_logits=FAKE)
    assert terms["adversarial"] == generator_loss_literal(FAKE)
    torch.testing.assert_close(terms["adversarial"], torch.log(1 - torch.sigmoid(FAKE)).mean())


@pytest.mark.parametrize("label", [LABEL, LABEL.float(), LABEL.to(torch.uint8)])
def test_labels_of_any_type(label: Tensor) -> None:
    expected = CAVGAObjective()(output(weak=True), IMAGE, fake_logits=FAKE, label=LABEL)["loss"]
    assert CAVGAObjective()(output(weak=True), IMAGE, fake_logits=FAKE, label=label)["loss"] == expected


# --- properties of a real network ---


@pytest.fixture(scope="module", params=[("R", "conv", "none"), ("D", "flat", "none"), ("R", "conv", "flat"),
                                        ("D", "conv", "conv"), ("R", "flat", "flat")], ids="-".join)  # fmt: skip
def trained(request: pytest.FixtureRequest) -> tuple[CAVGA, dict[str, Tensor]]:
    """A network in training mode and its terms on two images, the first normal and judged so."""
    architecture, latent, head = request.param
    torch.manual_seed(3)
    net = CAVGA(
        architecture=architecture, stages=2, latent=latent, latent_channels=4, head=head, image_size=(HEIGHT, WIDTH)
    )
    image = torch.rand(2, 3, HEIGHT, WIDTH)
    out = net(image, torch.randn(net.noise_shape(image)))
    fake_logits = DCGANDiscriminator(channels=8, depth=3)(out.reconstruction)
    if out.logits is not None:
        out = out._replace(logits=out.logits + torch.tensor([[10.0, 0.0], [0.0, 10.0]]))
    return net, CAVGAObjective()(out, image, fake_logits=fake_logits, label=LABEL)


def test_each_term_trains_the_encoder(trained: tuple[CAVGA, dict[str, Tensor]]) -> None:
    net, terms = trained
    assert set(terms) == {*(UNSUPERVISED if net.classifier is None else WEAK), "loss"}
    first = next(net.encoder.parameters())  # the very first convolution: the gradient passes all of the encoder
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, first, retain_graph=True)
        assert gradient.abs().max() > 0, name
        assert torch.isfinite(gradient).all(), name


def test_no_trainable_part_is_left_out(trained: tuple[CAVGA, dict[str, Tensor]]) -> None:
    net, terms = trained
    gradients = torch.autograd.grad(terms["loss"], list(net.parameters()), retain_graph=True, allow_unused=True)
    unused = [name for (name, _), g in zip(net.named_parameters(), gradients, strict=True) if g is None]
    assert unused == []


# --- errors ---


@pytest.mark.parametrize("name", ["w_r", "w_adv", "w_ae", "w_c", "w_cga"])
def test_negative_weight(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is -0.5, expected a weight >= 0"):
        CAVGAObjective(**{name: -0.5})


def test_unknown_adversarial_form() -> None:
    with pytest.raises(ValueError, match="adversarial is 'hinge', expected 'non_saturating' or 'literal'"):
        CAVGAObjective(adversarial="hinge")


def test_classifier_without_labels() -> None:
    with pytest.raises(ValueError, match="label is not given: CAVGA_w needs each image's label"):
        CAVGAObjective()(output(weak=True), IMAGE, fake_logits=FAKE)
