"""Inferers for MONAI's evaluators."""

from __future__ import annotations

from monai_cavga.inferers.latent_grad_cam import LatentGradCAMInferer

__all__ = ["LatentGradCAMInferer"]
