"""Write docs/reference/command_line.md from the commands' own argument parsers.

    python docs/tools/command_line.py

A test checks that the page is what this writes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_cavga.__main__ import _make_parser
from monai_cavga.handlers.files import write_atomic

PAGE = Path(__file__).resolve().parents[1] / "reference" / "command_line.md"
HEAD = """# Command line

<!-- Made by docs/tools/command_line.py: change the parsers, not this page. -->

```text
python -m monai_cavga COMMAND ...
```

{description} `--version` prints the version, `COMMAND --help` what stands here.

| command | what it does |
|---|---|
{commands}

**Exit codes**: 0 done; 1 failed, or `check-data` found a problem; 2 bad input, which one line says; 3 done in part
(`localize`, `pacs`); 130 interrupted. A command that goes wrong prints one line; `MONAI_CAVGA_DEBUG=1` shows where.
`MONAI_CAVGA_CLI=0` turns off the convenience `--config DIR` of `python -m monai.bundle run`. {epilog}
"""


def page() -> str:
    """The page's text."""
    parser = _make_parser()
    (choice,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    helps = {each.dest: each.help for each in choice._choices_actions}
    rows = "\n".join(f"| [`{name}`](#{name}) | {_cell(helps[name] or '')} |" for name in choice.choices)
    head = HEAD.format(description=parser.description, commands=rows, epilog=parser.epilog)
    return head + "".join(_section(name, each) for name, each in choice.choices.items())


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    rows = "\n".join(_row(parser, action) for action in parser._actions if action.dest != "help")
    table = f"| argument | meaning |\n|---|---|\n{rows}\n"
    notes = f"\n{parser.epilog}\n" if parser.epilog else ""
    return f"\n## {name}\n\n```text\n{usage}\n```\n\n{parser.description}\n\n{table}{notes}"


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    if action.option_strings:
        value = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
        name = f"`{', '.join(action.option_strings)} {value}`".replace(" `", "`")
    elif action.choices:
        name = ", ".join(f"`{each}`" for each in action.choices)
    else:
        name = f"`{action.metavar or action.dest}`"
    required = " (required)" if action.required and action.option_strings else ""
    return f"| {name} | {_cell(formatter._expand_help(action))}{required} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    write_atomic(PAGE, page().encode())
