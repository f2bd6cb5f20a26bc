"""The result page: escaping, self-containedness, order, geometry, metrics."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from PIL import Image

from monai_cavga.handlers import PageHandler, files, make_card, write_page
from monai_cavga.handlers.colour import OUTLINE
from monai_cavga.handlers.files import NOTICE
from monai_cavga.handlers.page_style import STYLE

EVIL = '../<script>alert("1")</script>&\'x'


def item(name: str = "eye", *, score: float | None = 0.5, label: int | None = 1, mask: bool = True) -> dict[str, Any]:
    """One output; the landmark is at the top right of 40 x 60."""
    attention = torch.zeros(1, 40, 60)
    attention[:, :10, 45:] = 1.0
    made = {
        "image": torch.full((3, 16, 16), 0.5),
        "attention": attention,
        "mask": (attention > 0).to(torch.int8) if mask else None,
        "label": None if label is None else torch.tensor(label),
        "score": score,
        "name": name,
    }
    return {key: value for key, value in made.items() if value is not None}


class Reader(HTMLParser):
    """Tags with their attributes, text outside scripts and styles, and whether tags nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for each, attributes in self.tags if each == tag]

    @property
    def said(self) -> str:
        return " ".join("".join(self.text).split())


def write(tmp_path: Path, **options: Any) -> Reader:
    path = write_page(tmp_path / "index.html", **{"title": "Eyes", "items": [item()], **options})
    reader = Reader(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def decode(url: str) -> np.ndarray:
    assert url.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))) as read:
        return np.asarray(read)


def test_all_text_is_escaped(tmp_path: Path) -> None:
    reader = write(tmp_path, title=EVIL, items=[item(EVIL)], metrics={EVIL: EVIL, "n": 1}, notice=EVIL)
    assert len(reader.all("script")) == 1  # ours
    assert reader.said.count(EVIL) == 7  # title, heading, notice twice, metric and value, card
    (card,) = [each for each in reader.all("li") if each.get("class") == "card"]
    assert card["data-name"] == EVIL
    assert all(EVIL in image["alt"] for image in reader.all("img"))


def test_page_loads_nothing_and_its_policy_names_its_own_code(tmp_path: Path) -> None:
    reader = write(tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    own = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)  # of which any letters may follow another
    assert not re.search(r"https?://|//[a-z]|@import|url\(", own)
    assert all(image["src"].startswith("data:") for image in reader.all("img"))
    assert not reader.all("link")
    assert not any("style" in attributes for _, attributes in reader.tags)  # the policy forbids inline styles
    policy = next(meta["content"] for meta in reader.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    for tag in ("script", "style"):
        code = re.search(f"<{tag}>(.*?)</{tag}>", page, re.S)
        assert code is not None
        digest = base64.b64encode(hashlib.sha256(code[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_page_is_accessible(tmp_path: Path) -> None:
    reader = write(tmp_path, metrics={"AUROC": 0.9})
    assert reader.all("html") == [{"lang": "en"}]
    assert all(image["alt"] and image["width"] == "480" and image["height"] == "320" for image in reader.all("img"))
    assert all(header["scope"] in ("row", "col") for header in reader.all("th"))
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for control in ("opacity", "outline", "sort"):  # each control stands inside a label
        assert re.search(rf'<label>(?:(?!</label>).)*id="{control}"', page, re.S)
    assert NOTICE in reader.said


def _contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        digits = colour if len(colour) == 6 else "".join(2 * c for c in colour)
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_aa_in_both_schemes() -> None:
    schemes = [
        dict(re.findall(r"--([\w-]+):#([0-9a-f]{3,6})", block)) for block in re.findall(r":root\{(.*?)\}", STYLE, re.S)
    ]
    assert len(schemes) == 2
    for colours in schemes:
        pairs = [("ink", p) for p in ("paper", "raised", "warm-paper")] + [
            ("muted", p) for p in ("paper", "raised", "sunk")
        ]
        for ink, paper in [*pairs, ("warm", "warm-paper"), ("calm", "calm-paper")]:
            assert _contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)


def test_cards_are_sorted_by_score_and_unknown_scores_last(tmp_path: Path) -> None:
    scores = {"a": 0.1, "b": None, "c": 12.0, "d": float("nan"), "e": 0.5, "f": 0.5}
    reader = write(tmp_path, items=[item(name, score=score) for name, score in scores.items()])
    cards = [each for each in reader.all("li") if each.get("class") == "card"]
    assert [each["data-name"] for each in cards] == ["c", "e", "f", "a", "b", "d"]
    assert [each["data-score"] for each in cards] == ["12.0", "0.5", "0.5", "0.1", "", ""]
    assert "score not given" in reader.said
    assert "score not defined" in reader.said


def test_landmark_is_at_the_same_place_in_all_pictures(tmp_path: Path) -> None:
    sources = {image["class"]: decode(image["src"]) for image in write(tmp_path).all("img")}
    assert {kind: array.shape for kind, array in sources.items()} == {
        "image": (320, 480, 3),
        "map": (320, 480, 4),
        "outline": (320, 480, 4),
    }
    alpha = sources["map"][..., 3]
    assert (alpha[:75, 366:] == 255).all()
    assert (alpha[88:] == 0).all()
    assert (alpha[:, :350] == 0).all()
    ring = (sources["outline"] == (*OUTLINE, 255)).all(-1)
    assert ring[80, 359:].all()
    assert ring[:81, 359].all()
    assert ring.sum() == 81 + 121 - 1


def test_scale_is_fixed_and_printed(tmp_path: Path) -> None:
    narrow = make_card(item("n"), scales={"attention": (0.0, 2.0)})
    with Image.open(io.BytesIO(narrow.layer)) as read:
        assert np.asarray(read)[20, 450, 3] == 128  # 1.0 is half way on (0, 2)
    assert "Anomaly map 0.000 1.000" in write(tmp_path).said
    both = write(tmp_path, items=[narrow, item("w")]).said
    assert "0.000 2.000" in both  # two scales: each card has its own
    assert "0.000 1.000" in both
    assert "Anomaly map 0.000" not in both


def test_nothing_is_shown_outside_the_field_of_view() -> None:
    """hand: the landmark is 10 rows high, and the field of view begins at row 5; each is 8 pixels of the page."""
    fov = torch.ones(1, 40, 60, dtype=torch.bool)
    fov[:, :5] = False
    with Image.open(io.BytesIO(make_card({**item(), "fov": fov}).layer)) as read:
        alpha = np.asarray(read)[..., 3]
    assert (alpha[:32] == 0).all()
    assert (alpha[48:70, 380:] == 255).all()


def test_without_masks_there_is_no_outline_control(tmp_path: Path) -> None:
    reader = write(tmp_path, items=[item(mask=False, label=None)])
    assert not any(each.get("id") == "outline" for each in reader.all("input"))
    assert [image["class"] for image in reader.all("img")] == ["image", "map"]
    assert "mask: no pixel labels" in reader.said
    assert "no label" in reader.said


def test_page_without_images(tmp_path: Path) -> None:
    reader = write(tmp_path, items=[])
    assert "No images." in reader.said
    assert not reader.all("input")


def test_metrics_table(tmp_path: Path) -> None:
    said = write(
        tmp_path, metrics={"AUROC": (0.8, 0.75, 0.85), "AP": torch.tensor(0.25), "x": float("nan"), "w": "m.pt"}
    ).said
    assert "AUROC0.800 (0.750 to 0.850)AP0.250xnot definedwm.pt" in said
    assert "Metrics" not in write(tmp_path).said


def test_pictures_beside_the_page(tmp_path: Path) -> None:
    path = write_page(tmp_path / "a b.html", title="t", items=[item("../x"), item("X"), item(EVIL)], embed="files")
    sources = [image["src"] for image in Reader(path.read_text(encoding="utf-8")).all("img")]
    assert len({each.lower() for each in sources}) == 9
    assert all((tmp_path / unquote(each)).is_file() for each in sources)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a b.html", "a b_files"]
    assert all("/" not in unquote(each).removeprefix("a b_files/") for each in sources)


def test_names_that_are_not_unicode_do_not_stop_the_page(tmp_path: Path) -> None:
    assert "eye?" in write(tmp_path, items=[item("eye\udcff")]).said


def test_write_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    before = (tmp_path / "index.html").read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        write(tmp_path, title="new")
    assert [each.name for each in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_bytes() == before


def test_bad_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="embed is 'zip'"):
        write_page(tmp_path / "x.html", title="t", items=[], embed="zip")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"item has no \['fused'\]"):
        make_card(item(), primary="fused")
    with pytest.raises(ValueError, match="size is 0"):
        make_card(item(), size=0)
    with pytest.raises(ValueError, match="maximum is 0"):
        PageHandler(tmp_path / "x.html", maximum=0)


def test_handler_writes_the_page_with_the_metrics_of_the_run(tmp_path: Path) -> None:
    engine = Engine(lambda _, batch: batch)
    PageHandler(tmp_path / "p" / "index.html", title="Run", maximum=3).attach(engine)

    def measure(engine: Engine) -> None:
        engine.state.metrics = {"auroc": 0.75, "several": {"a": 1.0}, "list": [1, 2]}

    engine.add_event_handler(Events.EPOCH_COMPLETED, measure)  # after the page's own handlers, as metrics may be
    engine.run([[item("a"), item("b")], [item("c"), item("d")]])
    reader = Reader((tmp_path / "p" / "index.html").read_text(encoding="utf-8"))
    assert "auroc0.750" in reader.said
    assert "several" not in reader.said
    assert [each["data-name"] for each in reader.all("li") if each.get("class") == "card"] == ["a", "b", "c"]
