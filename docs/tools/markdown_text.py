"""Markdown as text: its links, headings and code blocks. Code, in blocks or inline, holds no links and no headings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+|~~~+)(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=indent)(?P=fence) *$", re.M | re.S
)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_LINK = re.compile(r"(?<!\\)\]\((?P<target>[^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *$", re.M)


class Link(NamedTuple):
    """The target of a link or picture, and where it stands in the text."""

    target: str
    start: int
    end: int

    @property
    def path(self) -> str:
        return self.target.partition("#")[0]

    @property
    def anchor(self) -> str:
        return self.target.partition("#")[2]


class CodeBlock(NamedTuple):
    """A fenced block: its language, its text, and the line of the file on which its text begins, from 1."""

    language: str
    code: str
    line: int


def code_blocks(text: str, language: str) -> list[CodeBlock]:
    """The fenced blocks of one language, in order."""
    found = []
    for match in _FENCE.finditer(text):
        if match["language"].strip() == language:
            indent = len(match["indent"])
            code = "".join(line[indent:] for line in match["code"].splitlines(keepends=True))
            found.append(CodeBlock(language, code, text.count("\n", 0, match.start("code")) + 1))
    return found


def shell_commands(text: str) -> list[str]:
    """The lines of the shell blocks, one a command, their variables filled in."""
    found, values = [], {}
    for block in code_blocks(text, "bash"):
        for line in re.sub(r"\\\n", " ", block.code).splitlines():
            line = re.sub(r"\$(\w+)", lambda match: values.get(match[1], match[0]), line)
            if assigned := re.fullmatch(r"(\w+)=(?:([\"'])(.*)\2|(\S*))", line):
                values[assigned[1]] = assigned[3] or assigned[4] or ""
            elif line.strip():
                found.append(line)
    return found


def run_python(blocks: Sequence[CodeBlock], *, file: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run blocks one after the other in one namespace, which is returned; errors show the document's own lines."""
    names = {} if names is None else names
    for block in blocks:
        exec(compile("\n" * (block.line - 1) + block.code, file, "exec"), names)
    return names


def links(text: str) -> Iterator[Link]:
    """Links and pictures to files and headings of the repository, not to other places of the world."""
    for match in _LINK.finditer(_without_code(text)):
        if not re.match(r"[a-z]+:", match["target"]):
            yield Link(match["target"], match.start("target"), match.end("target"))


def anchors(text: str) -> set[str]:
    """The names of the headings, as GitHub and the site make them: ``## Two words`` is ``two-words``."""
    names: set[str] = set()
    blank = _without_code(text)
    for match in _HEADING.finditer(blank):
        title = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", text[match.start("title") : match.end("title")])
        name = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        number = next(n for n in range(len(names) + 1) if (f"{name}_{n}" if n else name) not in names)
        names.add(f"{name}_{number}" if number else name)
    return names


def _without_code(text: str) -> str:
    """The same length, with spaces where code and comments stand."""
    for pattern in (_FENCE, _COMMENT, _INLINE):
        text = pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    return text
