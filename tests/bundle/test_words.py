"""The split of a command line agrees with Fire's own."""

from __future__ import annotations

import inspect

import pytest
from fire.core import _ParseKeywordArgs
from fire.inspectutils import GetFullArgSpec
from fire.parser import DefaultParseValue

from monai_cavga.bundle.words import as_fire_word, fire_flags, split_words


def _like_monai(run_id: object = None, init_id: object = None, **override: object) -> None:
    """The shape of `monai.bundle.run`."""


LINES = [
    "training --config bundles/lag --epochs 3",
    "--config=bundles/lag training",
    "training --learning-rate 1e-3 --shift -1",
    "training --amp --config bundles/lag",
    "training --noamp",
    "training --config bundles/lag --resume",
    "-e 3 -x=4 training",
    "training --train::dataloader::batch_size 4 --a#0 [1,2]",
    "--run_id training --text a=b",
    "",
]


@pytest.mark.parametrize("line", LINES)
def test_reference_fire(line: str) -> None:
    words = line.split()
    found = split_words(words, parameters=inspect.signature(_like_monai).parameters)
    flags, left_flags, positionals = _ParseKeywordArgs(words, GetFullArgSpec(_like_monai))
    assert left_flags == []
    assert {word.key: word.value for word in found if word.key} == flags
    assert [word.value for word in found if not word.key] == positionals


@pytest.mark.parametrize("line", LINES)
def test_round_trip_of_the_raw_words(line: str) -> None:
    assert [raw for word in split_words(line.split()) for raw in word.raw] == line.split()


def test_what_is_for_fire_itself_is_left_out() -> None:
    words = ["training", "--epochs", "3", "--", "--verbose"]
    assert [word.key for word in split_words(words)] == ["", "epochs"]
    assert fire_flags(words) == ["--", "--verbose"]
    assert fire_flags(words[:3]) == []


@pytest.mark.parametrize(
    "text",
    [
        "bundles/lag",
        "/data/a b/c",
        "2024",
        "1e3",
        "None",
        "dir#1/x",
        "a,b",
        "it's",
        "C:\\x",
        "[a]",
        ".",
        "../x",
        "-1",
        "x{1}",
        "a b",
    ],
)
def test_round_trip_through_fire(text: str) -> None:
    assert DefaultParseValue(as_fire_word(text)) == text
