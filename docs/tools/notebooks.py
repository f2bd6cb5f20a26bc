"""A notebook as Markdown: its text, its code, and what it printed and drew, if that is kept in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def to_markdown(path: Path) -> str:
    """One Markdown text; pictures are part of it (data URLs)."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parts: list[str] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source:
            parts.append(f"```python\n{source}\n```")
            parts += [text for output in cell.get("outputs", []) for text in _output(output)]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> Iterator[str]:
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            yield f"![Output](data:{kind};base64,{''.join(data[kind]).replace(chr(10), '')})"
            return
    text = "".join(output.get("text", data.get("text/plain", ""))).strip()
    if text:
        yield f"```text\n{text}\n```"
