"""The residual and its relative: by hand, and what the relative is for."""

from __future__ import annotations

import pytest
import torch

from monai_cavga.networks.residual import detail, relative_residual, residual


def test_residual_by_hand() -> None:
    """hand: |0.2 - 0.5| and |0.9 - 0.5| mean 0.35."""
    image = torch.tensor([0.2, 0.9]).view(1, 2, 1, 1).expand(1, 2, 4, 8)
    assert torch.allclose(residual(image, torch.full_like(image, 0.5)), torch.full((1, 1, 4, 8), 0.35))


def test_detail_by_hand() -> None:
    """hand: a low-pass of columns 0, 1, 0, 1 is 0.5 everywhere; a flat image loses nothing."""
    columns = torch.tensor([0.0, 1.0]).repeat(4).view(1, 1, 1, 8).expand(1, 1, 4, 8)
    both = torch.cat([columns, torch.full_like(columns, 0.3)])
    assert torch.allclose(detail(both).flatten(), torch.tensor([0.5, 0.0]), atol=1e-6)


def test_a_low_pass_itself_has_about_one_whatever_the_detail() -> None:
    """hand: residual 0.5 over 0.5 + 1/256 is 0.99; with a tenth of the contrast 0.05 over 0.05 + 1/256 is 0.93."""
    columns = torch.tensor([0.0, 1.0]).repeat(4).view(1, 1, 1, 8).expand(1, 1, 4, 8)
    for contrast, expected in ((1.0, 0.9922), (0.1, 0.9275)):
        image = 0.5 + contrast * (columns - 0.5)
        score = relative_residual(image, torch.full_like(image, 0.5)).mean()
        assert float(score) == pytest.approx(expected, abs=1e-4)


def test_images_do_not_talk_to_each_other() -> None:
    images, reconstructions = torch.rand(2, 3, 2, 16, 24).unbind()
    together = relative_residual(images, reconstructions)
    for k in range(3):
        alone = relative_residual(images[k : k + 1], reconstructions[k : k + 1])
        torch.testing.assert_close(alone, together[k : k + 1])
