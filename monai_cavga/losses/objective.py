"""L_final: eq. 4 for CAVGA_u and eq. 6 for CAVGA_w, from named terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from monai_cavga.losses.adversarial import generator_loss, generator_loss_literal
from monai_cavga.losses.attention import ATTENTION_LOSSES, complementary_guided_attention_loss
from monai_cavga.losses.elbo import kl_divergence, reconstruction_loss
from monai_cavga.losses.mask import mask_attention_loss, mask_classification_loss

if TYPE_CHECKING:  # losses do not depend on networks
    from monai_cavga.networks.cavga import CAVGAOutput

__all__ = ["CAVGAObjective"]


class CAVGAObjective:
    """What encoder, decoder and C minimise.

    Without a classifier ``w_r L + w_adv L_adv + w_ae L_ae`` (eq. 4); with one
    ``w_r L + w_adv L_adv + w_c L_bce + w_cga L_cga`` (eq. 6, which has no L_ae). A weight of 0 leaves a term out of
    the sum, as the ablation of table 8 needs it; its value is still reported. Ours: where the batch has masks (made
    anomalies) and C is convolutional, ``+ w_mask L_mask + w_mirror L_mirror`` (`monai_cavga.losses.mask`); a network
    without a decoder has no L and no L_adv.

    Args:
        w_r: weight of L = L_R + KL.
        w_adv: weight of the adversarial term.
        w_ae: weight of the attention expansion loss, CAVGA_u.
        w_c: weight of the classifier's cross entropy, CAVGA_w.
        w_cga: weight of the complementary guided attention loss, CAVGA_w.
        w_mask: weight of C's cross entropy at every position (ours).
        w_mirror: weight of the mirror of L_cga on the mask (ours).
        attention_loss: ``"expansion"`` (eq. 3), or ours in its place: ``"barrier"``, ``"entropy"``.
        adversarial: ``"non_saturating"``, or ``"literal"`` for eq. 2 as written.

    Raises:
        ValueError: for a negative weight or an unknown form.
    """

    def __init__(
        self,
        *,
        w_r: float = 1.0,
        w_adv: float = 1.0,
        w_ae: float = 0.01,
        w_c: float = 0.001,
        w_cga: float = 0.01,
        w_mask: float = 0.0,
        w_mirror: float = 0.0,
        attention_loss: str = "expansion",
        adversarial: str = "non_saturating",
    ) -> None:
        self.weights = {
            "w_r": w_r,
            "w_adv": w_adv,
            "w_ae": w_ae,
            "w_c": w_c,
            "w_cga": w_cga,
            "w_mask": w_mask,
            "w_mirror": w_mirror,
        }
        for name, weight in self.weights.items():
            if weight < 0:
                raise ValueError(f"{name} is {weight}, expected a weight >= 0: a loss is not maximised here")
        if adversarial not in ("non_saturating", "literal"):
            raise ValueError(f"adversarial is {adversarial!r}, expected 'non_saturating' or 'literal'")
        if attention_loss not in ATTENTION_LOSSES:
            raise ValueError(f"attention_loss is {attention_loss!r}, expected one of {', '.join(ATTENTION_LOSSES)}")
        self.attention_loss = ATTENTION_LOSSES[attention_loss]
        self.generator_loss = generator_loss_literal if adversarial == "literal" else generator_loss

    def __call__(
        self,
        output: CAVGAOutput,
        image: Tensor,
        *,
        fake_logits: Tensor | None = None,
        label: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """All terms, unweighted, and their weighted sum under ``"loss"``.

        Args:
            output: of the network in training.
            image: ``(B, C, H, W)``, in [0, 1].
            fake_logits: ``(B,)``, D on the reconstructions; needed with a decoder only.
            label: ``(B,)``, 0 normal, 1 anomalous; needed with a classifier only.
            mask: ``(B, 1, H, W)``: 1 anomalous, 0 normal, -1 unknown; used with a convolutional C only.

        Returns:
            Scalars: ``reconstruction``, ``kl``, ``adversarial`` with a decoder; ``attention_expansion`` for CAVGA_u;
            ``classification``, ``complementary_guided_attention`` for CAVGA_w; ``mask``, ``mirror`` with masks;
            ``loss``.

        Raises:
            ValueError: if the network has a classifier and no labels are given, a decoder and no ``fake_logits``, or
                if ``w_mask`` or ``w_mirror`` is not 0 and there is no mask.
        """
        terms: dict[str, Tensor] = {}
        w = self.weights
        loss = output.mean.new_zeros(())
        if output.reconstruction_logits is not None:
            if fake_logits is None:
                raise ValueError("fake_logits are not given: a network with a decoder needs D on its reconstructions")
            terms["reconstruction"] = reconstruction_loss(output.reconstruction_logits, image)
            terms["kl"] = kl_divergence(output.mean, output.log_variance, values=image[0].numel())
            terms["adversarial"] = self.generator_loss(fake_logits)
            loss = w["w_r"] * (terms["reconstruction"] + terms["kl"]) + w["w_adv"] * terms["adversarial"]
        if output.logits is None or output.class_attention is None:
            terms["attention_expansion"] = self.attention_loss(output.attention)
            loss = loss + w["w_ae"] * terms["attention_expansion"]
        else:
            if label is None:
                raise ValueError("label is not given: CAVGA_w needs each image's label, 0 normal, 1 anomalous")
            # Two outputs and a softmax are the binary cross entropy of their difference: the paper's L_bce.
            terms["classification"] = F.cross_entropy(output.logits, label.long())
            terms["complementary_guided_attention"] = complementary_guided_attention_loss(
                output.class_attention, output.logits, label
            )
            loss = loss + w["w_c"] * terms["classification"]
            loss = loss + w["w_cga"] * terms["complementary_guided_attention"]
        if w["w_mask"] or w["w_mirror"]:
            if output.class_map is None or output.class_attention is None or mask is None:
                raise ValueError(
                    "w_mask or w_mirror is not 0 and there is no mask or no C at every position: pass head='pyramid' "
                    "and a supervision with made anomalies, or set both weights to 0"
                )
            terms["mask"] = mask_classification_loss(output.class_map, mask)
            terms["mirror"] = mask_attention_loss(output.class_attention, mask)
            loss = loss + w["w_mask"] * terms["mask"] + w["w_mirror"] * terms["mirror"]
        terms["loss"] = loss
        return terms
