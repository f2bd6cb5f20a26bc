"""Style and behaviour of the reader's page: constant text, whose hashes the page's security policy names."""

from __future__ import annotations

import json

from monai_cavga.handlers.colour import OUTLINE, colour_stops
from monai_cavga.handlers.page_style import STYLE as BASE

__all__ = ["SCRIPT", "STYLE"]

STYLE = (
    BASE
    + """
.desk{display:grid;gap:1.5rem;align-items:start;grid-template-columns:minmax(0,1fr)}
.list,.view{min-width:0}
@media (min-width:60rem){.desk{grid-template-columns:minmax(17rem,22rem) minmax(0,1fr)}
.list{position:sticky;top:0;max-height:100vh;overflow:hidden;display:flex;flex-direction:column}
#list{overflow-y:auto}}
@media (max-width:59.99rem){#list{display:flex;overflow-x:auto}#list li{flex:0 0 16rem}}
.list h2,.view h2{margin-top:1rem;overflow-wrap:anywhere}
.sort{display:flex;gap:.5rem;align-items:center;margin-bottom:.5rem}
#list{list-style:none;margin:0;padding:.25rem;gap:.4rem}
#list button{display:flex;gap:.75rem;align-items:center;width:100%;padding:.4rem;text-align:left;font:inherit;
color:inherit;background:var(--raised);border:1px solid var(--line);border-radius:8px;cursor:pointer;min-height:3.5rem}
#list button[aria-pressed=true]{border-color:var(--accent);box-shadow:inset 4px 0 0 var(--accent);padding-left:.7rem}
#list .photo{width:5.5rem;height:4rem;object-fit:contain;background:#000;border-radius:4px;flex:none}
.line{display:grid;gap:.1rem;min-width:0}
.line b{font-weight:650;overflow-wrap:anywhere}
.line span{color:var(--muted);font-size:.85rem;font-variant-numeric:tabular-nums}
.stage{background:#000;border-radius:8px;overflow:hidden;display:grid;place-items:center;min-height:12rem}
canvas{display:block;width:100%;max-height:68vh;object-fit:contain;touch-action:pan-y pinch-zoom}
canvas:focus-visible{outline-offset:-4px;outline-color:#fff}
.view .controls{padding:.75rem 0;gap:.75rem 1.75rem}
.view .controls label{display:flex;align-items:center;gap:.5rem;min-height:2.5rem}
.view input[type=range]{width:min(13rem,45vw);height:2rem}
button#reset{font:inherit;padding:.3rem .9rem;border:1px solid var(--muted);border-radius:6px;background:var(--raised);
color:var(--ink);min-height:2.5rem}
.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.15rem 1.25rem;margin:.25rem 0 .75rem}
.facts dt{color:var(--muted)}
.facts dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
summary{cursor:pointer;padding:.4rem 0}
td,tbody th{font-weight:400;vertical-align:top}
td:nth-child(2),.scroll thead th{white-space:nowrap}
"""
)

# Values in the layer: 0 outside the field of view, else 1 + 254 * value. Above the threshold t (0 to 254): v - 1 > t.
SCRIPT = """
"use strict";
const STOPS = %STOPS%, LINE = %LINE%;
const find = (id) => document.getElementById(id);
const list = find("list");
if (list) {
  const canvas = find("canvas"), context = canvas.getContext("2d", { willReadFrequently: true });
  const opacity = find("opacity"), threshold = find("threshold"), outline = find("outline"), sort = find("sort");
  const items = Array.from(list.children);
  let current = null, photo = null, layer = null, width = 0, height = 0, hidden = false, loading = 0;
  const colours = new Uint8Array(768);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (STOPS.length - 1), low = Math.min(Math.floor(place), STOPS.length - 2);
    for (let c = 0; c < 3; c++)
      colours[3 * i + c] = Math.round(STOPS[low][c] + (place - low) * (STOPS[low + 1][c] - STOPS[low][c]));
  }
  const percent = (share) => (100 * share).toFixed(2) + " %";
  const pixels = (image) => {
    const own = document.createElement("canvas");
    own.width = width; own.height = height;
    const drawn = own.getContext("2d", { willReadFrequently: true });
    drawn.drawImage(image, 0, 0, width, height);
    return drawn.getImageData(0, 0, width, height);
  };
  const standard = () => String(Math.round(254 * Number(current.dataset.threshold)));
  const facts = (share) => {
    const data = current.dataset;
    if (threshold.value === standard()) share = Number(data.area); // as measured on the map itself
    const rows = [["Score", Number(data.score).toFixed(3)], ["Above held-out normals", data.ranked],
      ["Area above threshold", percent(share)], ["Eye", data.side], ["Size", data.size + " pixels"],
      ["File", data.path]];
    find("facts").replaceChildren(...rows.flatMap(([name, value]) => {
      const term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name; text.textContent = value;
      return [term, text];
    }));
  };
  const draw = () => {
    if (!layer) return;
    const level = Number(threshold.value), alpha = hidden ? 0 : Number(opacity.value) / 100;
    const out = new ImageData(new Uint8ClampedArray(photo.data), width, height), to = out.data, from = layer;
    let inside = 0, above = 0;
    for (let i = 0; i < from.length; i++) {
      if (from[i] === 0) continue;
      inside++;
      const value = from[i] - 1;
      if (value <= level) continue;
      above++;
      const share = (value - level) / Math.max(1, 254 - level);
      const weight = alpha * (0.25 + 0.75 * share), colour = 3 * Math.round(255 * share);
      for (let c = 0; c < 3; c++) to[4 * i + c] += weight * (colours[colour + c] - to[4 * i + c]);
    }
    if (outline.checked && !hidden) {
      const over = (i) => from[i] - 1 > level;
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
        const i = y * width + x;
        if (over(i)) continue;
        if ((x > 0 && over(i - 1)) || (x + 1 < width && over(i + 1)) || (y > 0 && over(i - width)) ||
            (y + 1 < height && over(i + width))) for (let c = 0; c < 3; c++) to[4 * i + c] = LINE[c];
      }
    }
    context.putImageData(out, 0, 0);
    canvas.dataset.above = above;
    canvas.dataset.inside = inside;
    facts(inside ? above / inside : 0);
  };
  const choose = async (item) => {
    const ticket = ++loading;
    const picture = item.querySelector(".photo"), map = item.querySelector(".layer");
    await Promise.all([picture.decode(), map.decode()]);
    if (ticket !== loading) return;
    for (const each of items) each.firstElementChild.setAttribute("aria-pressed", String(each === item));
    current = item;
    width = map.naturalWidth; height = map.naturalHeight;
    canvas.width = width; canvas.height = height;
    photo = pixels(picture);
    const grey = pixels(map).data;
    layer = new Uint8Array(width * height);
    for (let i = 0; i < layer.length; i++) layer[i] = grey[4 * i];
    find("name").textContent = item.dataset.name;
    item.scrollIntoView({ block: "nearest", inline: "nearest" });
    draw();
    document.documentElement.dataset.ready = item.dataset.name;
  };
  const step = (by, focus) => {
    const order = Array.from(list.children);
    const to = order[Math.max(0, Math.min(order.length - 1, order.indexOf(current) + by))];
    if (focus) to.firstElementChild.focus();
    choose(to);
  };
  const move = (range, by) => {
    range.value = Number(range.value) + by;
    range.dispatchEvent(new Event("input"));
  };
  list.addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) choose(item);
  });
  const taken = (event, act) => { event.preventDefault(); act(); };
  list.addEventListener("keydown", (event) => {
    const far = items.length;
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -far, End: far }[event.key];
    if (by !== undefined) taken(event, () => step(by, true));
  });
  canvas.addEventListener("keydown", (event) => {
    const acts = { ArrowRight: () => step(1, false), ArrowLeft: () => step(-1, false),
      ArrowUp: () => move(threshold, 2), ArrowDown: () => move(threshold, -2),
      " ": () => { hidden = !hidden; draw(); } };
    if (acts[event.key]) taken(event, acts[event.key]);
  });
  opacity.addEventListener("input", () => { find("opacity-shown").textContent = opacity.value + " %"; draw(); });
  threshold.addEventListener("input", () => {
    find("threshold-shown").textContent = (threshold.value / 254).toFixed(3);
    draw();
  });
  outline.addEventListener("change", draw);
  find("reset").addEventListener("click", () => {
    opacity.value = 75; threshold.value = standard();
    outline.checked = true; hidden = false;
    for (const each of [opacity, threshold]) each.dispatchEvent(new Event("input"));
  });
  const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name, "en", { numeric: true });
  const down = (key) => (a, b) => Number(b.dataset[key]) - Number(a.dataset[key]) || byName(a, b);
  sort.addEventListener("change", () => {
    items.sort(sort.value === "name" ? byName : down(sort.value)).forEach((item) => list.append(item));
    find("said").textContent = "Sorted by " + sort.selectedOptions[0].textContent;
  });
  if (sort.value !== "score") sort.dispatchEvent(new Event("change"));
  threshold.value = Math.round(254 * Number(items[0].dataset.threshold));
  for (const each of [opacity, threshold]) each.dispatchEvent(new Event("input"));
  choose(items[0]);
}
""".replace("%STOPS%", json.dumps(colour_stops())).replace("%LINE%", json.dumps(list(OUTLINE)))
