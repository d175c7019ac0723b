"""docs/reference/permissions.md: its examples hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from quell.core.permissions import Mode, Rule, RuleAnswer, check, parse_rule
from tests.tools.conftest import Hands

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "permissions.md"
ROW = re.compile(r"^\| (\w+) \| (`.*`) \| `(.*)` \| (\w+) \|$", re.MULTILINE)
EXAMPLES = ROW.findall(PAGE.read_text(encoding="utf-8"))


def rule(text: str) -> Rule:
    answer, _, pattern = text.partition(" ")
    return parse_rule(pattern, "user", msgspec.convert(answer, RuleAnswer))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 18


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_hold(hands: Hands, number: int) -> None:
    mode, rules, line, answer = EXAMPLES[number]
    assert mode in get_args(Mode)
    given = [rule(text) for text in re.findall(r"`([^`]*)`", rules)]
    access = hands.access("bash", command=line)
    assert check(access, given, msgspec.convert(mode, Mode)).answer == answer, access
