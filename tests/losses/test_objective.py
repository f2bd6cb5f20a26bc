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
    mask_attention_loss,
    mask_classification_loss,
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
    papers = {"w_r": 1, "w_adv": 1, "w_ae": 0.01, "w_c": 0.001, "w_cga": 0.01}
    assert CAVGAObjective().weights == {**papers, "w_mask": 0, "w_mirror": 0}  # ours are off


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


# --- ours: masks, and no decoder ---


MASK = torch.zeros(2, 1, 4, 6)
MASK[1, 0, 1:3, 2:5] = 1
MASK[:, :, :, 0] = -1
CLASS_MAP = torch.randn(2, 2, 2, 3, generator=torch.Generator().manual_seed(2))


def without_decoder(out: CAVGAOutput) -> CAVGAOutput:
    return out._replace(reconstruction=None, reconstruction_logits=None)


def test_masks_add_two_terms_to_eq_6() -> None:
    out = output(weak=True)._replace(class_map=CLASS_MAP)
    given = {"fake_logits": FAKE, "label": LABEL, "mask": MASK}
    terms = CAVGAObjective(w_mask=3.0, w_mirror=5.0)(out, IMAGE, **given)
    plain = CAVGAObjective()(out, IMAGE, **given)
    assert list(plain) == [*WEAK, "loss"]
    assert list(terms) == [*WEAK, "mask", "mirror", "loss"]
    assert out.class_attention is not None
    assert terms["mask"] == mask_classification_loss(CLASS_MAP, MASK)
    assert terms["mirror"] == mask_attention_loss(out.class_attention, MASK)
    torch.testing.assert_close(terms["loss"], plain["loss"] + 3 * terms["mask"] + 5 * terms["mirror"])


@pytest.mark.parametrize(("w_mask", "w_mirror"), [(1.0, 0.0), (0.0, 1.0)])
def test_one_of_the_two_is_summed_alone(w_mask: float, w_mirror: float) -> None:
    out = without_decoder(output(weak=True))._replace(class_map=CLASS_MAP)
    terms = CAVGAObjective(w_c=0, w_cga=0, w_mask=w_mask, w_mirror=w_mirror)(out, IMAGE, label=LABEL, mask=MASK)
    torch.testing.assert_close(terms["loss"], terms["mask"] if w_mask else terms["mirror"])
    assert terms["mask"] > 0
    assert terms["mirror"] > 0


def test_without_a_decoder_the_classifier_is_alone() -> None:
    terms = CAVGAObjective(w_c=5.0, w_cga=7.0)(without_decoder(output(weak=True)), IMAGE, label=LABEL)
    assert list(terms) == ["classification", "complementary_guided_attention", "loss"]
    expected = 5 * terms["classification"] + 7 * terms["complementary_guided_attention"]
    torch.testing.assert_close(terms["loss"], expected)


def test_a_decoder_needs_the_discriminators_view() -> None:
    with pytest.raises(ValueError, match="fake_logits are not given: a network with a decoder needs D on its"):
        CAVGAObjective()(output(weak=False), IMAGE)


@pytest.mark.parametrize("weights", [{"w_mask": 1.0}, {"w_mirror": 1.0}])
@pytest.mark.parametrize("missing", ["mask", "class_map"])
def test_masks_need_a_mask_and_a_classifier_at_every_position(weights: dict[str, float], missing: str) -> None:
    out = output(weak=True)._replace(class_map=None if missing == "class_map" else CLASS_MAP)
    with pytest.raises(ValueError, match="w_mask or w_mirror is not 0 and there is no mask or no C at every position"):
        CAVGAObjective(**weights)(out, IMAGE, fake_logits=FAKE, label=LABEL, mask=None if missing == "mask" else MASK)


def test_masks_train_a_pyramid_and_its_encoder() -> None:
    torch.manual_seed(3)
    net = CAVGA(stages=2, latent_channels=4, head="pyramid", decoder=False)
    out = net(torch.rand(2, 3, HEIGHT, WIDTH))
    mask = torch.zeros(2, 1, HEIGHT, WIDTH)
    mask[1, :, 8:16, 12:30] = 1
    terms = CAVGAObjective(w_mask=1.0, w_mirror=1.0)(out, torch.zeros(2, 3, HEIGHT, WIDTH), label=LABEL, mask=mask)
    learning = [*net.encoder.named_parameters(), *net.pyramid_classifier.named_parameters()]
    gradients = torch.autograd.grad(terms["loss"], [p for _, p in learning], allow_unused=True)
    for (name, _), gradient in zip(learning, gradients, strict=True):
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name


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


@pytest.mark.parametrize("name", ["w_r", "w_adv", "w_ae", "w_c", "w_cga", "w_mask", "w_mirror"])
def test_negative_weight(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is -0.5, expected a weight >= 0"):
        CAVGAObjective(**{name: -0.5})


def test_unknown_adversarial_form() -> None:
    with pytest.raises(ValueError, match="adversarial is 'hinge', expected 'non_saturating' or 'literal'"):
        CAVGAObjective(adversarial="hinge")


def test_classifier_without_labels() -> None:
    with pytest.raises(ValueError, match="label is not given: CAVGA_w needs each image's label"):
        CAVGAObjective()(output(weak=True), IMAGE, fake_logits=FAKE)


def test_attention_loss_is_one_of_three() -> None:
    out = output(weak=False)
    values = {
        name: CAVGAObjective(attention_loss=name)(out, IMAGE, fake_logits=torch.zeros(2))["attention_expansion"]
        for name in ("expansion", "barrier", "entropy")
    }
    assert values["expansion"] == attention_expansion_loss(out.attention)
    assert len({float(value) for value in values.values()}) == 3
    with pytest.raises(ValueError, match="attention_loss is 'area', expected one of expansion, barrier, entropy"):
        CAVGAObjective(attention_loss="area")
