"""The words of a command line, split the way Fire (MONAI's command line) splits them. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

_FLAG = re.compile(r"--|-[a-zA-Z]")  # "-1" is a value, "-e" and "--epochs" are flags


class Word(NamedTuple):
    """One argument: a flag with its value, or a positional (``key`` is "").

    ``raw`` is what was typed, one or two words, so that a command line can be put together again.
    """

    key: str
    value: str
    raw: tuple[str, ...]


def split_words(words: Sequence[str], *, parameters: Collection[str] = ()) -> list[Word]:
    """Split a command line into flags and positionals.

    As in Fire: ``--key value`` and ``--key=value``; hyphens in a key are underscores; a flag without a value is
    "True", and "False" if it is ``--nokey``; what follows the last ``--`` is for Fire itself and is left out.

    Args:
        words: the arguments after the command's name.
        parameters: names that are never read as ``no`` + key.
    """
    words = words[: _fire_flags_at(words)]
    found: list[Word] = []
    position = 0
    while position < len(words):
        word = words[position]
        bare = position + 1 == len(words) or bool(_FLAG.match(words[position + 1]))
        if not _FLAG.match(word):
            found.append(Word("", word, (word,)))
        elif "=" in word:
            key, value = word.lstrip("-").split("=", 1)
            found.append(Word(key.replace("-", "_"), value, (word,)))
        elif bare:
            key = word.lstrip("-").replace("-", "_")
            negated = key.startswith("no") and key not in parameters
            found.append(Word(key[2:] if negated else key, str(not negated), (word,)))
        else:
            found.append(Word(word.lstrip("-").replace("-", "_"), words[position + 1], (word, words[position + 1])))
        position += len(found[-1].raw)
    return found


def fire_flags(words: Sequence[str]) -> list[str]:
    """The tail that :func:`split_words` leaves out: the last ``--`` and what follows it."""
    return list(words[_fire_flags_at(words) :])


def _fire_flags_at(words: Sequence[str]) -> int:
    return max((i for i, word in enumerate(words) if word == "--"), default=len(words))


def as_fire_word(text: str) -> str:
    """Write a string so that Fire reads it back as that string, not as a number, a list or a comment.

    >>> as_fire_word("bundles/lag"), as_fire_word("2024")
    ('bundles/lag', "'2024'")
    """
    plain = re.fullmatch(r"[A-Za-z_./~][\w./~-]*", text) and text not in ("True", "False", "None")
    return text if plain else repr(text)
