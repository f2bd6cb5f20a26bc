from __future__ import annotations

import re

import pytest

from monai_cavga.engines.supervision import check_supervision


@pytest.mark.parametrize(
    ("supervision", "labelled", "made_fraction"),
    [("synthetic", 0, 0.65), ("mixed", 4, 0.65), ("mixed", 0.02, 0), ("weak", 4, 0)],
)
def test_options_that_fit(supervision: str, labelled: float, made_fraction: float) -> None:
    check_supervision(supervision, labelled=labelled, made_fraction=made_fraction)


@pytest.mark.parametrize(
    ("supervision", "labelled", "made_fraction", "remedy"),
    [
        ("none", 0, 0.65, "`run training`"),
        ("full", 0, 0.65, "expected one of 'synthetic', 'mixed', 'weak'"),
        ("synthetic", 4, 0.65, "labelled 4: pass --supervision mixed, or --labelled 0"),
        ("synthetic", 0, 0, "pass a --made_fraction above 0"),
        ("mixed", 0, 0.65, "pass --labelled N, or --supervision synthetic"),
        ("weak", 0, 0, "pass --labelled N"),
        ("weak", 4, 0.65, "pass --made_fraction 0, or --supervision mixed"),
        ("mixed", 4, 1.5, "made_fraction is 1.5, expected 0 to 1"),
    ],
)
def test_options_that_do_not(supervision: str, labelled: float, made_fraction: float, remedy: str) -> None:
    with pytest.raises(ValueError, match=re.escape(remedy)) as raised:
        check_supervision(supervision, labelled=labelled, made_fraction=made_fraction)
    assert "\n" not in str(raised.value)


def test_names_are_labels_too() -> None:
    check_supervision("mixed", labelled=["image_1"], made_fraction=0.5)
    check_supervision("synthetic", labelled=[], made_fraction=0.5)
    with pytest.raises(ValueError, match="pass --supervision mixed"):
        check_supervision("synthetic", labelled=["image_1"], made_fraction=0.5)
