"""``index.html``: one file for a reader of the results, with everything in it and nothing fetched."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from monai_cavga.clinical.records import ModelIdentity
from monai_cavga.clinical.write.index_style import SCRIPT, STYLE
from monai_cavga.handlers.files import NOTICE, write_atomic

__all__ = ["MOST_IMAGES", "write_index"]

MOST_IMAGES = 200  # some 200 kB each: more makes a file that a tablet does not open
_TYPES = {".jpg": "image/jpeg", ".png": "image/png"}


def write_index(output: Path, images: Sequence[Mapping[str, Any]], *, model: ModelIdentity) -> Path:
    """Write the page of a run.

    Shows the images of the highest scores, at most `MOST_IMAGES`, and a table of those that were not localised.

    Args:
        output: folder with the pieces that `write_pieces` left; the page goes there.
        images: entries of results.json.
        model: what localised them.

    Returns:
        The page's path.
    """
    shown = [each for each in images if each["state"] == "ok"]
    shown.sort(key=lambda each: (-each["score"], each["path"]))
    rest = [each for each in images if each["state"] != "ok"]
    number = len(shown)
    shown = shown[:MOST_IMAGES]
    entries = "".join(_entry(output, each, index) for index, each in enumerate(shown))
    more = "" if number == len(shown) else f" The {len(shown)} highest scores of {number}; all are in results.json."
    body = f"""<header><h1>Anomaly maps</h1><p class="notice" role="note">{escape(NOTICE)}</p></header>
<main>
{_viewer(entries, model, more) if shown else '<p class="none">No image was localised.</p>'}
{_not_localised(rest)}
{_about(model)}
</main>"""
    policy = f"default-src 'none'; img-src data:; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'"
    document = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>Anomaly maps</title>
<style>{STYLE}</style>
</head>
<body>
{body}
<script>{SCRIPT}</script>
</body>
</html>
"""
    return write_atomic(output / "index.html", document.encode("utf-8", "replace"))


def _viewer(entries: str, model: ModelIdentity, more: str) -> str:
    rate = model.false_positive_rate
    meaning = "" if math.isnan(rate) else f" (at 0.500, {rate:.1%} of held-out normals' pixels are above)"
    return f"""<div class="desk">
<section class="list" aria-labelledby="images">
<h2 id="images">Images</h2>
<label class="sort">Sort by <select id="sort"><option value="score">score, highest first</option>
<option value="name">name</option><option value="area">area above threshold</option></select></label>
<ol id="list">{entries}</ol>
<p class="quiet" id="said" role="status"></p>
{f'<p class="none">{more.strip()}</p>' if more else ""}
</section>
<section class="view" aria-labelledby="name">
<h2 id="name">Choose an image</h2>
<div class="stage"><canvas id="canvas" role="img" aria-labelledby="name" aria-describedby="facts" tabindex="0">
</canvas></div>
<div class="controls" role="group" aria-label="Display">
<label>Map opacity <input type="range" id="opacity" min="0" max="100" step="5" value="75">
<output id="opacity-shown" for="opacity">75 %</output></label>
<label>Threshold <input type="range" id="threshold" min="0" max="254" step="1" value="127">
<output id="threshold-shown" for="threshold">0.500</output></label>
<label><input type="checkbox" id="outline" checked> Outline</label>
<button type="button" id="reset">Reset</button>
</div>
<dl id="facts" class="facts"></dl>
<p class="none">Colours and outline show what is above the threshold{meaning}. Pictures are scaled for
display; at another than the model's threshold the area is counted on the picture shown.</p>
<details><summary>Keyboard</summary><p>In the list: arrow keys, Home and End choose an image. On the picture: left and
right choose an image, up and down move the threshold, space hides the map. Sliders: arrow keys.</p></details>
</section>
</div>
<noscript><p class="notice">The controls need JavaScript; the list, with scores, is complete without.</p></noscript>"""


def _entry(output: Path, each: Mapping[str, Any], index: int) -> str:
    name = escape(Path(each["path"]).name)
    photo, layer = (_data(output / each["files"][kind]) for kind in ("page_photo", "page_map"))
    ranked = "unknown" if each["percentile"] is None else f"{each['percentile']:.0f}&nbsp;%"
    side = {"R": "right eye", "L": "left eye"}.get(each["laterality"], "not stated")
    return (
        f'<li data-name="{name}" data-path="{escape(each["path"])}" data-score="{each["score"]!r}" '
        f'data-area="{each["area"]!r}" data-side="{side}" data-ranked="{ranked}" '
        f'data-threshold="{each["threshold"]!r}" data-size="{each["width"]} × {each["height"]}">'
        f'<button type="button" id="image-{index}"><img class="photo" src="{photo}" alt="">'
        f'<span class="line"><b>{name}</b><span>score {each["score"]:.3f}, area {each["area"]:.2%}</span>'
        f"<span>above normals: {ranked}</span></span></button>"
        f'<img class="layer" hidden src="{layer}" alt=""></li>'
    )


def _data(path: Path) -> str:
    return f"data:{_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _not_localised(images: Sequence[Mapping[str, Any]]) -> str:
    if not images:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(each["path"])}</th><td>{escape(each["state"])}</td>'
        f"<td>{escape(each['reason'])}</td></tr>"
        for each in images
    )
    return (
        f'<section aria-labelledby="rest"><h2 id="rest">Not localised <span>({len(images)})</span></h2>'
        '<div class="scroll" tabindex="0" role="group" aria-label="Table of images not localised"><table><thead><tr>'
        '<th scope="col">Image</th><th scope="col">Outcome</th><th scope="col">Reason</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _about(model: ModelIdentity) -> str:
    rate = "unknown" if math.isnan(model.false_positive_rate) else f"{model.false_positive_rate:.1%}"
    rows = {
        "Model": f"{model.name} {model.version}",
        "Weights": f"SHA-256 {model.model_sha256}",
        "Calibration": f"SHA-256 {model.calibration_sha256}" if model.calibration_sha256 else "none",
        "Settings": f"SHA-256 {model.config_sha256}",
        "Held-out normal images": str(model.normals) if model.normals else "unknown",
        "False-positive rate at threshold 0.5": f"{rate} of normal pixels" if rate != "unknown" else rate,
    }
    body = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in rows.items())
    return (
        '<section aria-labelledby="about"><h2 id="about">What made these maps</h2>'
        f'<dl class="facts">{body}</dl></section>'
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
