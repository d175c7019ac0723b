"""Rules for the tools of servers: a name with wildcards, compared with others as patterns are."""

from __future__ import annotations

import pytest

from quell.core.errors import InvalidRequest
from quell.core.permissions import check, headless_reason, parse_rule
from tests.core.accesses import touch
from tests.core.test_permissions import MODES, rules


@pytest.mark.parametrize(
    ("given", "answers"),
    [
        ("allow mcp_x_*", "allow allow deny allow"),
        ("allow mcp_*_y", "allow allow deny allow"),
        ("allow mcp_y_*", "ask ask deny allow"),
        ("deny mcp_*", "deny deny deny deny"),
        ("deny mcp_* | allow mcp_x_*", "allow allow deny allow"),
        ("deny mcp_x_* | allow mcp_x_y", "allow allow deny allow"),
        ("deny mcp_x_y | allow mcp_x_*", "deny deny deny deny"),
        ("deny kind:other | allow mcp_x_*", "allow allow deny allow"),
        ("allow mcp_x_* | deny mcp_*_y", "deny deny deny deny"),
    ],
)
def test_rules_with_wildcards(given: str, answers: str) -> None:
    """In the order ask, edits, plan, yolo."""
    access = touch("other", "mcp_x_y")
    assert [check(access, rules(given), mode).answer for mode in MODES] == answers.split()


@pytest.mark.parametrize("text", ["mcp_x_y(a)", "mcp_x_*(a/**)", "read_mcp_resource(memo://one)", "ba*h", "mcp_x y"])
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_rule(text, "user")


def test_the_reason_names_the_rule_for_this_tool() -> None:
    access = touch("other", "mcp_x_y")
    assert "--allow 'mcp_x_y'" in headless_reason(access, check(access, (), "edits"))
