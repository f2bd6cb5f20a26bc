"""One self-contained HTML page of results: cards with image, anomaly map and mask outline, and a table of metrics."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events

from monai_cavga.handlers.colour import as_map, as_photo, map_layer, resize_map, resize_photo
from monai_cavga.handlers.files import NOTICE, encode_png, unique_stem, write_atomic
from monai_cavga.handlers.outputs import check_positive, label_of, outputs_of, score_of
from monai_cavga.handlers.page_style import SCRIPT, STYLE
from monai_cavga.handlers.panels import Scales, label_text, outline_layer, scale_of, show_number

Embed = Literal["inline", "files"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the page shows of one image; the three pictures are PNG files of one size."""

    name: str
    image: bytes
    layer: bytes  # the anomaly map, red, green, blue, alpha
    size: tuple[int, int]  # rows and columns of the pictures
    scale: tuple[float, float]  # values of the map's dark and pale end
    outline: bytes | None = None
    mask_note: str = "no pixel labels"
    label: int | None = None
    score: float | None = None


def make_card(
    item: Mapping[str, Any],
    *,
    name: str | None = None,
    scales: Scales | None = None,
    primary: str = "attention",
    size: int = 480,
) -> Card:
    """Draw one output item of the evaluator for the page.

    Args:
        item: see `monai_cavga.handlers.panels.panel`; ``image`` and the primary map are needed. Where it has a field of
            view, ``fov``, of the map's size, the map is shown inside it alone.
        name: overrides the item's name.
        scales: ``{map: (low, high)}``, a fixed scale, else (0, 1).
        primary: the key of the map that is laid over the image.
        size: pixels of the pictures' longer side.

    Returns:
        The card, in the proportions of the map (the source's).

    Raises:
        ValueError: if the image or the map is missing, or a shape or the scale is wrong.
    """
    check_positive(size=size)
    missing = [key for key in ("image", primary) if key not in item]
    if missing:
        raise ValueError(
            f"item has no {missing} but {sorted(item)}: pass one output of the evaluator, or another primary"
        )
    values = as_map(item[primary], name=primary)
    share = size / max(values.shape)
    shape = (max(1, round(values.shape[0] * share)), max(1, round(values.shape[1] * share)))
    low, high = scale_of(scales, primary)
    if "fov" in item:  # nothing is said of what lies outside
        values = np.where(as_map(item["fov"], name="fov") > 0, values, np.float32(low))
    ring, note = outline_layer(item.get("mask"), shape)
    return Card(
        name=str(name if name is not None else item.get("name", "image")),
        image=encode_png(resize_photo(as_photo(item["image"]), shape)),
        layer=encode_png(map_layer(resize_map(values, shape), low=low, high=high)),
        outline=None if ring is None else encode_png(ring),
        mask_note=note,
        size=shape,
        scale=(low, high),
        label=label_of(item),
        score=score_of(item),
    )


def write_page(
    path: str | Path,
    *,
    title: str,
    items: Sequence[Card | Mapping[str, Any]],
    metrics: Mapping[str, Any] | None = None,
    notice: str = NOTICE,
    embed: Embed = "inline",
) -> Path:
    """Write the page, and with ``embed="files"`` its pictures beside it.

    It loads nothing from elsewhere, works without scripts (sorted by score), and all text is escaped.

    Args:
        path: the HTML file.
        title: its heading.
        items: cards, or output items for `make_card` with its defaults.
        metrics: name to number, ``(value, low, high)`` with the ends of an interval, or text.
        notice: the sentence under the heading, also at the foot.
        embed: ``inline`` puts the pictures into the file; ``files`` into ``<stem>_files/`` with relative links.

    Returns:
        ``path`` as a `Path`.

    Raises:
        ValueError: if ``embed`` is another word, or an item cannot be drawn.
    """
    if embed not in ("inline", "files"):
        raise ValueError(f"embed is {embed!r}, expected 'inline' or 'files'")
    target = Path(path)
    cards = [each if isinstance(each, Card) else make_card(each) for each in items]
    cards.sort(key=_by_score)
    used: set[str] = set()
    scales = {each.scale for each in cards}
    entries = []
    for each in cards:
        sources = _inline(each) if embed == "inline" else _files(each, target, used)
        entries.append(_card_html(each, sources, show_scale=len(scales) > 1))
    head = f"{escape(title)}"
    body = f"""<header>
<h1>{head}</h1>
<p class="notice" role="note">{escape(notice)}</p>
</header>
<main>
{_metrics_html(metrics or {})}
<section aria-labelledby="images">
<h2 id="images">Images <span>({len(cards)})</span></h2>
{_tools_html(cards, scales)}
{f'<ul class="grid" id="grid">{"".join(entries)}</ul>' if cards else '<p class="none">No images.</p>'}
</section>
</main>
<footer>{escape(notice)} Colours are on a fixed scale, the same for every image with the same numbers;
higher is more anomalous. Pictures are scaled for display.</footer>"""
    policy = f"default-src 'none'; img-src data: file: 'self'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'"
    document = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{head}</title>
<style>{STYLE}</style>
</head>
<body>
{body}
<script>{SCRIPT}</script>
</body>
</html>
"""
    return write_atomic(target, document.encode("utf-8", "replace"))


class PageHandler:
    """Write the page at the end of an evaluating run, with the engine's metrics.

    Only the first process of a distributed run writes, and shows its own images.

    Args:
        path: the HTML file.
        title: its heading.
        maximum: images shown, the first of the run.
        scales: ``{map: (low, high)}``.
        primary: key of the map laid over the image.
        embed: see `write_page`.

    Raises:
        ValueError: if ``maximum`` is below 1.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        title: str = "Anomaly maps",
        maximum: int = 120,
        scales: Scales | None = None,
        primary: str = "attention",
        embed: Embed = "inline",
    ) -> None:
        check_positive(maximum=maximum)
        self.path = Path(path)
        self.title = title
        self.maximum = maximum
        self.scales = scales
        self.primary = primary
        self.embed: Embed = embed
        self._cards: list[Card] = []

    def attach(self, engine: Engine) -> None:
        """Register with the engine whose outputs are shown."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)  # metrics are there after EPOCH_COMPLETED

    def _begin(self, engine: Engine) -> None:
        self._cards = []

    def _collect(self, engine: Engine) -> None:
        if idist.get_rank() != 0 or len(self._cards) >= self.maximum:
            return
        for name, _, item in outputs_of(engine)[: self.maximum - len(self._cards)]:
            self._cards.append(make_card(item, name=name, scales=self.scales, primary=self.primary))

    def _write(self, engine: Engine) -> None:
        if idist.get_rank() != 0:
            return
        # a metric of several numbers stands in ignite's metrics twice, as a dict and as its numbers
        numbers = {key: value for key, value in engine.state.metrics.items() if np.ndim(value) == 0}
        metrics = {key: value for key, value in numbers.items() if not isinstance(value, Mapping)}
        write_page(self.path, title=self.title, items=self._cards, metrics=metrics, embed=self.embed)
        self._cards = []


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _by_score(card: Card) -> tuple[float, str]:
    unknown = card.score is None or math.isnan(card.score)
    return (math.inf if unknown or card.score is None else -card.score, card.name)


def _pictures(card: Card) -> dict[str, bytes]:
    pictures = {"image": card.image, "map": card.layer}
    return pictures if card.outline is None else {**pictures, "outline": card.outline}


def _inline(card: Card) -> dict[str, str]:
    return {
        kind: "data:image/png;base64," + base64.b64encode(content).decode() for kind, content in _pictures(card).items()
    }


def _files(card: Card, page: Path, used: set[str]) -> dict[str, str]:
    folder = page.with_name(f"{page.stem}_files")
    stem = unique_stem(card.name, [f"_{kind}.png" for kind in _pictures(card)], used)
    for kind, content in _pictures(card).items():
        write_atomic(folder / f"{stem}_{kind}.png", content)
    return {kind: f"{quote(folder.name)}/{stem}_{kind}.png" for kind in _pictures(card)}


def _card_html(card: Card, sources: Mapping[str, str], *, show_scale: bool) -> str:
    name, score = escape(card.name), show_number(card.score)
    low, high = (show_number(end) for end in card.scale)
    alt = {
        "image": f"{name}, input image",
        "map": f"Anomaly map of {name}, score {score}, scale {low} to {high}",
        "outline": f"Outline of the reference mask of {name}, {card.mask_note}",
    }
    size = f'width="{card.size[1]}" height="{card.size[0]}" loading="lazy" decoding="async"'
    images = "".join(f'<img class="{kind}" src="{url}" alt="{alt[kind]}" {size}>' for kind, url in sources.items())
    data = "" if card.score is None or math.isnan(card.score) else repr(card.score)
    label = "" if card.label is None else str(card.label)
    bar = f'<span class="scale">{low} <i></i> {high}</span>' if show_scale else ""
    return (
        f'\n<li class="card" data-name="{name}" data-score="{data}" data-label="{label}"><figure>'
        f'<div class="stack">{images}</div><figcaption><div class="line"><h3 title="{name}">{name}</h3>'
        f'<span class="score"><small>score</small> {score}</span></div><div class="line">'
        f'<span class="pill label-{label or "none"}">{escape(label_text(card.label))}</span>'
        f'<span class="fact">mask: {escape(card.mask_note)}</span></div>{bar}</figcaption></figure></li>'
    )


def _tools_html(cards: Sequence[Card], scales: set[tuple[float, float]]) -> str:
    if not cards:
        return ""
    outline = ""
    if any(card.outline is not None for card in cards):
        outline = '<label><input type="checkbox" id="outline" checked><span class="key"></span> Mask outline</label>'
    bar = ""
    if len(scales) == 1:
        low, high = next(iter(scales))
        bar = f'<span class="scale">Anomaly map {show_number(low)} <i></i> {show_number(high)}</span>'
    return f"""<div class="tools"><div class="controls" id="tools" role="group" aria-label="Display" hidden>
<label>Map opacity <input type="range" id="opacity" min="0" max="100" step="5" value="75">
<output id="opacity-shown" for="opacity">75 %</output></label>
{outline}
<label>Sort by <select id="sort"><option value="score">score, highest first</option><option value="name">name</option>
<option value="label">label, anomalous first</option></select></label></div>
{bar}
</div>
<p class="quiet" id="said" role="status"></p>"""


def _metrics_html(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{_metric_value(value)}</td></tr>'
        for name, value in metrics.items()
    )
    return (
        '<section aria-labelledby="metrics"><h2 id="metrics">Metrics</h2><div class="scroll"><table><thead><tr>'
        f'<th scope="col">Metric</th><th scope="col">Value</th></tr></thead><tbody>{rows}</tbody></table></div>'
        "</section>"
    )


def _metric_value(value: Any) -> str:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Sequence) and len(value) == 3:
        middle, low, high = (show_number(float(each)) for each in value)
        return f"{middle} <small>({low} to {high})</small>"
    number = float(value)
    return "not defined" if math.isnan(number) else escape(show_number(number))
