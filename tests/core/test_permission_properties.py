"""What holds for any rules at all, and for the patterns that they are made of."""

from __future__ import annotations

from typing import get_args

from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from quell.core import patterns
from quell.core.access import Access, Command
from quell.core.permissions import Mode, Rule, RuleAnswer, Scope, check, parse_rule
from tests.core.accesses import bash, edit, fetch

MODES: tuple[Mode, ...] = get_args(Mode)
SEVERITY = {"allow": 0, "ask": 1, "deny": 2}

words = st.sampled_from(["git", "push", "npm", "test", "-f", "a b", "*", ";", "it's"])
commands = st.lists(words, min_size=1, max_size=4).map(tuple)
names = st.sampled_from(["a", "b", "ab", ".git", "docs"])
relative = st.lists(names, min_size=1, max_size=4).map("/".join)
wild_names = st.sampled_from(["a", "b", "*", "**", "a*", "*b", "?", ".git", "docs"])
path_patterns = st.lists(wild_names, min_size=1, max_size=4).map("/".join)
wild_words = st.sampled_from(["git", "push", "npm", "test", "-*", "*", "'a b'", "p*"])
command_patterns = st.lists(wild_words, min_size=1, max_size=4).map(" ".join)
hosts = st.lists(st.sampled_from(["a", "b", "org"]), min_size=1, max_size=3).map(".".join)
host_patterns = st.lists(st.sampled_from(["a", "b", "org", "*", "a*"]), min_size=1, max_size=3).map(".".join)
texts = st.one_of(
    st.sampled_from(["edit", "kind:edit", "view", "bash", "kind:execute", "fetch", "download", "kind:fetch"]),
    st.builds("fetch({})".format, host_patterns),
    st.builds("kind:fetch({})".format, host_patterns),
    st.builds("edit({})".format, path_patterns),
    st.builds("kind:edit({})".format, path_patterns),
    st.builds("bash({})".format, command_patterns),
    st.builds("kind:execute({})".format, command_patterns),
)
any_rules = st.lists(
    st.builds(Rule, st.sampled_from(get_args(RuleAnswer)), texts, st.sampled_from(get_args(Scope))), max_size=6
)
modes = st.sampled_from(MODES)
accesses = st.one_of(
    relative.map(edit),
    st.builds(lambda host, path: fetch(host, tool="download", writes=path), hosts, relative),
    hosts.map(fetch),
    st.builds(
        lambda lines, written, opaque: replace(
            bash(writes=written, opaque=opaque), commands=tuple(Command(line, ro) for line, ro in lines)
        ),
        st.lists(st.tuples(commands, st.booleans()), max_size=3),
        st.one_of(st.just(""), relative),
        st.booleans(),
    ),
)


@given(accesses, any_rules, modes, st.randoms(use_true_random=False))
def test_order_and_repetition_mean_nothing(access: Access, given_rules: list[Rule], mode: Mode, random: object) -> None:
    shuffled = [*given_rules, *given_rules]
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random, whatever hypothesis calls it
    assert check(access, shuffled, mode).answer == check(access, given_rules, mode).answer


@given(accesses, any_rules, modes)
def test_a_project_never_loosens(access: Access, given_rules: list[Rule], mode: Mode) -> None:
    # Its allows are not even read; see tests/config/test_load.py.
    read = [rule for rule in given_rules if rule.scope != "project" or rule.answer != "allow"]
    ours = [rule for rule in read if rule.scope != "project"]
    assert SEVERITY[check(access, read, mode).answer] >= SEVERITY[check(access, ours, mode).answer]


@given(accesses, any_rules, modes, texts, st.sampled_from(get_args(Scope)))
def test_another_deny_never_loosens(
    access: Access, given_rules: list[Rule], mode: Mode, text: str, scope: Scope
) -> None:
    more = [*given_rules, Rule("deny", text, scope)]
    assert SEVERITY[check(access, more, mode).answer] >= SEVERITY[check(access, given_rules, mode).answer]


@given(accesses, any_rules, modes, st.sampled_from(["edit", "kind:edit", "bash", "kind:execute"]))
def test_a_broader_allow_lifts_no_deny(access: Access, given_rules: list[Rule], mode: Mode, text: str) -> None:
    patterned = [rule for rule in given_rules if "(" in rule.pattern]
    assume(check(access, patterned, mode).answer == "deny")
    assert check(access, [*patterned, Rule("allow", text, "run")], mode).answer == "deny"


@given(accesses, any_rules)
def test_plan_never_lets_anything_change(access: Access, given_rules: list[Rule]) -> None:
    changes = access.kind == "edit" or access.opaque or any(not c.read_only for c in access.commands)
    assume(changes)
    assert check(access, given_rules, "plan").answer == "deny"


@given(accesses, any_rules)
def test_no_pattern_allows_what_was_not_understood(access: Access, given_rules: list[Rule]) -> None:
    patterned = [rule for rule in given_rules if "(" in rule.pattern]
    for mode in ("ask", "edits", "plan"):
        assert check(replace(access, opaque=True), patterned, mode).answer != "allow"


@given(accesses, any_rules, modes)
def test_always_does_what_it_says(access: Access, given_rules: list[Rule], mode: Mode) -> None:
    verdict = check(access, given_rules, mode)
    if verdict.always is not None:
        assert verdict.answer == "ask"
        for scope in ("session", "run"):
            assert check(access, [*given_rules, parse_rule(verdict.always, scope)], mode).answer == "allow"


@given(st.lists(st.text(st.characters(exclude_characters="\x00\x01")), min_size=1, max_size=5))
def test_written_words_match_themselves_and_nothing_else(line: list[str]) -> None:
    pattern = patterns.parse(f"bash({patterns.command_text(line)})")
    assert pattern.commands == (tuple(line),)


@given(path_patterns, path_patterns, relative)
@example("docs/*", "docs/**", "docs")
@example("?", "*", "ab")
def test_covering_is_what_it_claims(broad: str, narrow: str, path: str) -> None:
    wide, thin = (patterns.path_steps(p, "", "", whole_folders=True) for p in (broad, narrow))
    assert wide is not None
    assert thin is not None
    if patterns.covers(wide, thin) and patterns.covers(thin, patterns.path_names(path)):
        assert patterns.covers(wide, patterns.path_names(path))
    assert patterns.covers(wide, wide)
