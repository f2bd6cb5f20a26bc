from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from monai_cavga.data.layout import check_options, draw, draw_labelled, images_in, missing_data_message, natural_key


def test_natural_order() -> None:
    assert sorted(["i10", "i9", "i1_b", "I2", "i1"], key=natural_key) == ["I2", "i1", "i1_b", "i9", "i10"]


def test_draw_is_nested_and_ignores_order() -> None:
    names = [f"n{k}" for k in range(30)]
    four = draw(names, 4, seed=3, purpose="p")
    assert len(four) == 4
    assert four == draw(reversed(names), 4, seed=3, purpose="p")
    assert four < draw(names, 9, seed=3, purpose="p")
    assert four != draw(names, 4, seed=4, purpose="p")
    assert four != draw(names, 4, seed=3, purpose="q")
    # hand: the least of sha256("3/p/<name>"), by sha256sum; fixed for ever
    assert draw(["a", "b", "c"], 1, seed=3, purpose="p") == {"b"}


def test_draw_of_too_many() -> None:
    with pytest.raises(ValueError, match="labelled is 3, expected 0 to 2"):
        draw(["a", "b"], 3, seed=0, purpose="labelled")


def test_two_images_of_one_stem(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        Image.new("L", (3, 2)).save(tmp_path / f"a.{suffix}")
    with pytest.raises(ValueError, match="share a stem"):
        images_in(tmp_path)


def test_other_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("Thumbs.db", "._a.jpg", "a.JPG"):
        (tmp_path / name).touch()
    assert list(images_in(tmp_path)) == ["a"]
    assert images_in(tmp_path / "absent") == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"section": "train", "validation_fraction": 0.2, "labelled": 0}, "section is 'train', expected one of"),
        ({"section": "test", "validation_fraction": 1.0, "labelled": 0}, "validation_fraction is 1.0"),
        ({"section": "test", "validation_fraction": 0.2, "labelled": -1}, "labelled is -1"),
    ],
)
def test_options_are_checked(options: dict[str, object], text: str) -> None:
    section = options.pop("section")
    with pytest.raises(ValueError, match=text):
        check_options(section, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("lag", "github.com/smilell/AG-CNN"),
        ("idrid", "ieee-dataport.org"),
        ("mvtad", "www.mvtec.com"),
        ("ped2", "www.svcl.ucsd.edu"),
        ("mstc", "svip-lab.github.io"),
        ("mnist", "yann.lecun.com"),
        ("cifar10", "www.cs.toronto.edu"),
    ],
)
def test_missing_data_message_is_one_helpful_line(kind: str, source: str) -> None:
    message = missing_data_message(kind, "/some/where")  # type: ignore[arg-type]
    assert "\n" not in message
    for text in ("/some/where", source, "python -m monai_cavga phantoms DIR"):
        assert text in message


def test_labels_are_a_number_a_fraction_or_names() -> None:
    names = [f"image_{number}" for number in range(50)]
    assert draw_labelled(names, 5, seed=1) == draw(names, 5, seed=1, purpose="labelled")
    assert draw_labelled(names, 0.1, seed=1) == draw_labelled(names, 5, seed=1)
    assert draw_labelled(names, 0.001, seed=1) == draw_labelled(names, 1, seed=1)
    assert draw_labelled(names, ["image_3", "image_40"], seed=1) == {"image_3", "image_40"}
    assert draw_labelled(names, "image_3", seed=1) == {"image_3"}
    assert draw_labelled(names, 0, seed=1) == draw_labelled(names, [], seed=1) == set()


def test_a_label_for_an_image_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"labelled names 'imag_3', which is no anomalous image .*: did you mean 'image_3'"
    ):
        draw_labelled(["image_3", "image_40"], ["imag_3"], seed=0)
    with pytest.raises(ValueError, match=r"labelled names 'x', .*: names are such as 'image_3'"):
        draw_labelled(["image_3"], ["x"], seed=0)
