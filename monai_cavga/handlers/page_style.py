"""Style and behaviour of the result page: constant text, whose hashes the page's security policy names."""

from __future__ import annotations

from monai_cavga.handlers.colour import colour_stops

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--raised:#fff;--sunk:#f3f5f7;--ink:#1b1f24;--muted:#57606a;--line:#d5dae0;
--accent:#00629b;--warm:#8a3b00;--warm-paper:#fff1e5;--calm:#24577a;--calm-paper:#e6f2fa}
@media (prefers-color-scheme:dark){:root{--paper:#101418;--raised:#181d23;--sunk:#1f262d;--ink:#e9edf1;--muted:#a3adb8;
--line:#343d47;--accent:#6cc7ea;--warm:#ffb482;--warm-paper:#3a2415;--calm:#9fd3f2;--calm-paper:#15303f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
header,main,footer{max-width:100rem;margin:0 auto;padding:0 clamp(1rem,3vw,2.5rem)}
header{padding-top:clamp(1.25rem,3vw,2.5rem)}
h1{font-size:clamp(1.4rem,1.1rem + 1.4vw,2rem);line-height:1.2;margin:0 0 .5rem;font-weight:650;overflow-wrap:anywhere}
h2{font-size:1.1rem;font-weight:650;margin:2rem 0 .75rem}
h2 span{color:var(--muted);font-weight:400}
.notice{margin:0;padding:.55rem .85rem;border-left:4px solid var(--warm);background:var(--warm-paper);color:var(--ink)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;min-width:min(100%,26rem)}
th,td{text-align:left;padding:.4rem 1.5rem .4rem 0;border-bottom:1px solid var(--line);font-weight:400;
overflow-wrap:anywhere}
thead th{color:var(--muted);font-size:.85rem}
td{font-weight:600}
td small{font-weight:400;color:var(--muted);font-size:.9em;white-space:nowrap}
.tools{display:flex;flex-wrap:wrap;gap:.5rem 1.75rem;align-items:center;padding:.6rem 0;
background:var(--paper);border-bottom:1px solid var(--line)}
@media (min-width:48rem){.tools{position:sticky;top:0;z-index:2}}
.controls{display:flex;flex-wrap:wrap;gap:.5rem 1.75rem;align-items:center}
.controls[hidden]{display:none}
.tools label{display:flex;align-items:center;gap:.5rem}
output{min-width:3.2em;font-variant-numeric:tabular-nums;color:var(--muted)}
input,select{accent-color:var(--accent);font:inherit}
input[type=range]{width:9rem}
input[type=checkbox]{width:1.1rem;height:1.1rem}
select{padding:.25rem .5rem;border:1px solid var(--muted);border-radius:6px;background:var(--raised);color:var(--ink)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.scale{display:flex;align-items:center;gap:.5rem;color:var(--muted);font-size:.85rem;font-variant-numeric:tabular-nums}
.scale i{display:block;width:7rem;height:.6rem;border-radius:2px;background:linear-gradient(90deg,STOPS)}
.key{display:inline-block;width:.8rem;height:.8rem;border:2px solid #ff40c8;border-radius:2px}
.grid{list-style:none;margin:1rem 0 2.5rem;padding:0;display:grid;gap:1.1rem;align-items:start;
grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr))}
.card{display:flex;flex-direction:column;border:1px solid var(--line);border-radius:10px;overflow:hidden;
background:var(--raised)}
figure{margin:0;display:flex;flex-direction:column;flex:1}
.stack{display:grid;grid-template-columns:minmax(0,1fr);place-items:center;background:#000}
.stack img{grid-area:1/1;max-width:100%;max-height:20rem;width:auto;height:auto;display:block}
.map{opacity:var(--opacity,.75)}
.outline{position:relative;z-index:1}
.no-outline .outline{visibility:hidden}
figcaption{padding:.65rem .9rem .8rem;display:grid;gap:.2rem}
.line{display:flex;justify-content:space-between;gap:.75rem;align-items:baseline}
h3{font-size:1rem;margin:0;font-weight:650;overflow-wrap:anywhere;display:-webkit-box;-webkit-box-orient:vertical;
-webkit-line-clamp:2;line-clamp:2;overflow:hidden}
.score{font-variant-numeric:tabular-nums;font-weight:650;text-align:right;white-space:nowrap}
.score small,.fact{color:var(--muted);font-weight:400;font-size:.85rem}
.fact{text-align:right}
.pill{white-space:nowrap;font-size:.85rem;padding:.05rem .55rem;border-radius:99px;background:var(--sunk);
color:var(--muted)}
.pill.label-1{background:var(--warm-paper);color:var(--warm)}
.pill.label-0{background:var(--calm-paper);color:var(--calm)}
.none{color:var(--muted)}
footer{padding-top:1rem;padding-bottom:2rem;color:var(--muted);font-size:.85rem;border-top:1px solid var(--line)}
.quiet{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media print{.tools{position:static}.controls{display:none}.card{break-inside:avoid}}
""".replace("STOPS", ",".join(f"rgb({r},{g},{b})" for r, g, b in colour_stops()))

# Without scripts the page is complete and sorted by score; the controls appear only where they work.
SCRIPT = """
"use strict";
const root = document.documentElement, find = (id) => document.getElementById(id);
const grid = find("grid"), tools = find("tools"), slider = find("opacity"), shown = find("opacity-shown");
const sort = find("sort"), outline = find("outline"), said = find("said");
if (grid && tools) {
  const cards = Array.from(grid.children);
  const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name, "en", { numeric: true });
  const number = (text) => (text === "" ? -Infinity : Number(text));
  const down = (key) => (a, b) => {
    const x = number(a.dataset[key]), y = number(b.dataset[key]);
    return x === y ? 0 : y > x ? 1 : -1;
  };
  const orders = {
    score: (a, b) => down("score")(a, b) || byName(a, b),
    name: byName,
    label: (a, b) => down("label")(a, b) || down("score")(a, b) || byName(a, b),
  };
  const setOpacity = () => {
    root.style.setProperty("--opacity", String(slider.value / 100));
    shown.textContent = slider.value + " %";
  };
  slider.addEventListener("input", setOpacity);
  sort.addEventListener("change", () => {
    cards.sort(orders[sort.value]).forEach((card) => grid.append(card));
    said.textContent = "Sorted by " + sort.value;
  });
  const setOutline = () => root.classList.toggle("no-outline", !outline.checked);
  if (outline) { outline.addEventListener("change", setOutline); setOutline(); }
  setOpacity();
  if (sort.value !== "score") sort.dispatchEvent(new Event("change"));
  tools.hidden = false;
}
"""
