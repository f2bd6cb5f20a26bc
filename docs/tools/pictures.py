"""Draw the two pictures of docs/explanation/architecture.md: the package's rooms, and an image's way through them.

    python docs/tools/pictures.py

The rooms and what each may import are those that tests/test_architecture.py checks the source against; a test checks
that the pictures are what this draws.
"""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "explanation"
WIDTH, ROW, BOX = 820, 74, 34  # of the first picture
STEP, TALL = 80, 50  # of the second
STYLE = """<style>
text{font:14px system-ui,sans-serif;fill:#1c2733;text-anchor:middle}
.small{font-size:12px;fill:#4a5a6a}
rect{fill:#eef3f8;stroke:#5b7a99;rx:6}
.ours{fill:#fdf3e3;stroke:#b5803a}
path{fill:none;stroke:#8fa3b8;stroke-width:1.3}
.tip{marker-end:url(#tip)}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<polygon points="0,0 8,4 0,8" fill="#8fa3b8"/></marker></defs>"""

Graph = dict[str, set[str]]
Place = tuple[str | int, ...]  # (room,), or (from, to, level) where an arrow passes


class Box(NamedTuple):
    """A box of the second picture: what it is called in the code, what it does, and where it stands."""

    name: str
    what: str
    x: int
    row: int
    width: int
    ours: bool = False  # not the paper's: another colour


WAY = {
    "read": Box("LoadRGBd", "file to (C, H, W) in [0, 1]; localize: in a process of its own", 410, 0, 420),
    "turn": Box("AlignObjectd", "where the config asks: one object, turned always the same way", 410, 1, 420),
    "size": Box("Resized", "MONAI's; to the network's size", 410, 2, 420),
    "view": Box("FieldOfViewd", "photographs of the retina: the lit disc", 410, 3, 420),
    "encoder": Box("CAVGA.encoder", "features of all stages", 410, 4, 420),
    "attention": Box("CAVGA.attention", "1 - A, or A of C", 105, 5, 170),
    "residual": Box("CAVGA.decode", "|x - reconstruction|", 300, 5, 170),
    "class": Box("CAVGA.class_logit", "C at every position", 512, 5, 190, ours=True),
    "distance": Box("LatentDistance", "to normals, whitened", 714, 5, 180, ours=True),
    "fuse": Box("CAVGALocalizer.fuse", "less what normals have there, scaled, weighted", 613, 6, 380, ours=True),
    "back": Box("source_maps", "what was recorded, undone: maps of the photograph's size", 410, 7, 420),
    "score": Box("image_score", "by the bundle's rule", 135, 8, 230),
    "files": Box("LocalisationHandler", "run inference: PNG, overlay, page", 410, 8, 260),
    "kinds": Box("write_kinds", "localize: these, NIfTI, SEG, SR", 685, 8, 230),
}
STEPS = (
    *(("read", "turn"), ("turn", "size"), ("size", "view"), ("view", "encoder")),
    *(("encoder", each) for each in ("attention", "residual", "class", "distance")),
    *(("class", "fuse"), ("distance", "fuse"), ("attention", "back"), ("residual", "back"), ("fuse", "back")),
    *(("back", each) for each in ("score", "files", "kinds")),
)


def allowed() -> Graph:
    """What each room may import, from the test that checks it."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    values = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ALLOWED"
    )
    graph: Graph = ast.literal_eval(next(values))
    return {room: set(known) for room, known in graph.items() if room != "__init__"}


def rooms_picture(graph: Graph) -> str:
    """The rooms, each above all that it may import; an arrow that follows from others is left out."""
    levels: dict[int, list[Place]] = {}
    below: dict[Place, list[Place]] = {}
    for room in graph:
        levels.setdefault(_level(graph, room), []).append((room,))
        for other in sorted(_direct(graph, room)):  # a long arrow goes through a place of its own on each level
            chain: list[Place] = [(room,)]
            for level in range(_level(graph, room) - 1, _level(graph, other), -1):
                chain.append((room, other, level))
                levels.setdefault(level, []).append(chain[-1])
            for upper, lower in itertools.pairwise([*chain, (other,)]):
                below.setdefault(upper, []).append(lower)
    x: dict[Place, float] = {}
    for level in sorted(levels):
        row = sorted(levels[level], key=lambda place: (_mean([x[each] for each in below.get(place, [])]), place[0]))
        shares = list(itertools.accumulate((0.35 if len(place) > 1 else 1.0 for place in row), initial=0.0))
        for place, left, right in zip(row, shares, shares[1:], strict=False):
            x[place] = WIDTH * (left + right) / 2 / shares[-1]
    top = max(levels)
    y = {place: 24 + ROW * (top - level) + BOX / 2 for level, row in levels.items() for place in row}
    lines = []
    for upper, lowers in below.items():
        for lower in lowers:
            tip = len(lower) == 1
            start = y[upper] + (BOX / 2 if len(upper) == 1 else 0)
            lines.append(_line(x[upper], start, x[lower], y[lower] - (BOX / 2 + 1 if tip else 0), tip=tip))
    boxes = [_box(x[place], y[place], 110, place[0]) for place in x if len(place) == 1]
    return _svg("Rooms of monai_cavga and what each imports", 24 + ROW * top + BOX + 24, [*lines, *boxes])


def way_picture() -> str:
    """The way of an image, from file to file."""
    y = {name: 36 + STEP * box.row for name, box in WAY.items()}
    lines = [_line(WAY[one].x, y[one] + TALL / 2, WAY[two].x, y[two] - TALL / 2 - 1) for one, two in STEPS]
    boxes = [_box(box.x, y[name], box.width, box.name, box.what, ours=box.ours) for name, box in WAY.items()]
    return _svg("The way of an image", max(y.values()) + 36, [*lines, *boxes])


def _level(graph: Graph, room: str) -> int:
    return 1 + max((_level(graph, other) for other in graph[room]), default=-1)


def _direct(graph: Graph, room: str) -> set[str]:
    """What a room imports and does not reach through another room."""
    return {other for other in graph[room] if not any(other in _reach(graph, via) for via in graph[room] - {other})}


def _reach(graph: Graph, room: str) -> set[str]:
    return graph[room] | {far for other in graph[room] for far in _reach(graph, other)}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _line(x0: float, y0: float, x1: float, y1: float, *, tip: bool = True) -> str:
    bend = (y1 - y0) / 2
    kind = ' class="tip"' if tip else ""
    return f'<path{kind} d="M{x0:.0f} {y0:.0f}C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1:.0f}"/>'


def _box(x: float, y: float, width: float, name: str, what: str = "", *, ours: bool = False) -> str:
    height = TALL if what else BOX
    kind = ' class="ours"' if ours else ""
    box = f'<rect{kind} x="{x - width / 2:.0f}" y="{y - height / 2:.0f}" width="{width:.0f}" height="{height}"/>'
    if not what:
        return f'{box}<text x="{x:.0f}" y="{y + 5:.0f}">{escape(name)}</text>'
    text = f'<text class="small" x="{x:.0f}" y="{y + 15:.0f}">{escape(what)}</text>'
    return f'{box}<text x="{x:.0f}" y="{y - 4:.0f}">{escape(name)}</text>{text}'


def _svg(title: str, height: float, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
    white = f'<polygon points="0,0 {WIDTH},0 {WIDTH},{height:.0f} 0,{height:.0f}" fill="#fff"/>'
    return "\n".join([head, f"<title>{title}</title>", STYLE, white, *parts, "</svg>\n"])


def pictures() -> dict[Path, str]:
    """Each picture's file and text."""
    return {FOLDER / "rooms.svg": rooms_picture(allowed()), FOLDER / "way.svg": way_picture()}


if __name__ == "__main__":
    for path, text in pictures().items():
        path.write_text(text, encoding="utf-8")
