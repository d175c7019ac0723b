"""May this call run? `check(access, rules, mode)` answers allow, ask or deny, with the reason.

A rule is text, `tool` or `tool(pattern)`: `edit`, `edit(docs/**)`, `bash(npm run *)`, `kind:read(/etc/hosts)`; its
grammar is in `patterns`. What a call would touch is an `Access`; it is judged in parts, and the strictest answer of any
part is the answer to the call:

    each path that a tool touches      rules for the tool, and for its kind
    each simple command of a line      the same; a pattern has to match all of its words
    each file that a line writes       rules for `edit` and kind:edit, and plain ones for the line's tool and kind
    each host that is asked            rules for the tool, and for its kind
    a line that was not understood,
    a tool that names nothing          plain rules, those without a pattern; what a server says of its tool (that it
                                       only reads) is the word of a stranger, and counts nothing

For each part, in this order:

1. Mode `plan` denies what changes anything. No rule lifts that.
2. The rules that match it are collected. With `deny` and `ask`, a path stands for all that is in that folder. An
   `allow` opens a protected place (`.git`, `.quell`, shell start-up files, the agent's own folders …) only if its pattern
   names it, or if it is a plain one for a shell; one for a command has to spell out the word that names the place. An
   `ask` or `deny` for a command holds for a program of that name in any folder.
3. A rule is overruled by a narrower one: one whose subject and pattern match only what the other matches, too, and not
   the reverse. With equal subject and pattern the nearer scope overrules: run, then session, project, user. Patterns
   that overlap without containing each other do not overrule. A project's rule never overrules a stricter one of
   another scope.
4. Of the rules not overruled, the strictest answers: deny, ask, allow. The order in which rules are written means
   nothing.
5. Where no rule answers, the mode does:

                                        ask     edits   plan    yolo
    read, search inside; think          allow   allow   allow   allow
    read, search outside                ask     ask     ask     allow
    edit inside, not protected          ask     allow   deny    allow
    edit elsewhere, delete, move        ask     ask     deny    allow
    read-only command, inside           ask*    allow   allow   allow
    read-only command, outside          ask     ask     ask     allow
    other command, not understood       ask     ask     deny    allow
    fetch                               ask     ask     ask     allow
    other: a tool of a server           ask     ask     deny    allow

   (*) allowed beside a command of the same line that a rule allows: `npm test | tail`. In `yolo`, what a rule would ask
   about is allowed.

   Mode `auto` is `edits`, but for a line that runs in a sandbox: all of it is allowed, except that it writes to a
   protected place by a redirection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, assert_never

from msgspec import Struct

from quell.core import patterns
from quell.core.access import Access, Part, is_protected, parts, short
from quell.core.errors import InvalidRequest

Mode = Literal["ask", "edits", "auto", "plan", "yolo"]
RuleAnswer = Literal["allow", "ask", "deny"]
Scope = Literal["user", "project", "session", "run"]


class Rule(Struct, frozen=True):
    """`answer` for what `pattern`, the rule's text, matches. `scope` says where the rule came from."""

    answer: RuleAnswer
    pattern: str
    scope: Scope = "user"


class Verdict(Struct, frozen=True):
    """The answer, why (written for the model as well as for people), and the narrowest rule that "always" would add."""

    answer: RuleAnswer
    reason: str
    always: str | None = None


def parse_rule(text: str, scope: Scope, answer: RuleAnswer = "allow") -> Rule:
    """Raises `InvalidRequest` when the text is no rule."""
    patterns.parse(text)
    return Rule(answer, text.strip(), scope)


def check(access: Access, rules: Sequence[Rule], mode: Mode) -> Verdict:
    """The one decision; the docstring of the module is its specification."""
    judged = _judge(access, rules, mode)
    answer = _strictest(judged)
    decisive = [j for j in judged if j.answer == answer]
    match answer:
        case "allow":
            return Verdict("allow", _allowed(decisive, mode))
        case "ask":
            # What is allowed beside another command once that one is allowed by a rule needs no rule itself.
            needed = [j for j in decisive if not j.companion] or decisive
            return Verdict("ask", _asked(needed, mode), _always(access, rules, mode, [j.part for j in needed]))
        case "deny":
            return Verdict("deny", _denied(decisive[0]))
        case _:
            assert_never(answer)


def headless_reason(access: Access, verdict: Verdict) -> str:
    """For a call that would ask where nobody can answer: what was denied, and what to pass so that it is allowed."""
    rule = verdict.always or access.tool
    quoted = "'" + rule.replace("'", "'\\''") + "'"
    return (
        f"Denied, because nobody is there to be asked: {verdict.reason}"
        " Go on without it if you can, and say in your answer what was not done and why."
        f" To allow it, the user can run this with --allow {quoted}, or with --yolo, which allows everything."
    )


# The judgement of a part

_SEVERITY: dict[RuleAnswer, int] = {"allow": 0, "ask": 1, "deny": 2}
_NEARNESS: dict[Scope, int] = {"user": 0, "project": 1, "session": 2, "run": 3}


class _Judged(Struct, frozen=True):
    """`rule` is None where the mode answered. `companion`: allowed beside a command that a rule allows."""

    part: Part
    answer: RuleAnswer
    rule: Rule | None = None
    companion: bool = False


class _Match(Struct, frozen=True):
    """A rule that matches the part. `reach` is all that its pattern can stand for, to compare by; None: everything."""

    rule: Rule
    subject: str
    reach: patterns.Steps | None = None


def _judge(access: Access, rules: Sequence[Rule], mode: Mode) -> Sequence[_Judged]:
    judged = [_judge_part(part, access, rules, mode) for part in parts(access)]
    if any(j.rule is not None and j.answer == "allow" and j.part.what == "command" for j in judged):
        return [_Judged(j.part, "allow") if j.companion else j for j in judged]
    return judged


def _strictest(judged: Sequence[_Judged]) -> RuleAnswer:
    return max((j.answer for j in judged), key=_SEVERITY.__getitem__)


def _judge_part(part: Part, access: Access, rules: Sequence[Rule], mode: Mode) -> _Judged:
    default = _by_mode(part, mode)
    if default == "deny":
        return _Judged(part, "deny")
    matches = [match for rule in rules for match in _matches(rule, part, access)]
    standing = [match for match in matches if not any(_overrules(other, match, part) for other in matches)]
    if not standing:
        companion = default == "ask" and part.what == "command" and part.read_only and not part.outside
        return _Judged(part, default, companion=companion)
    rule = max(standing, key=lambda match: _SEVERITY[match.rule.answer]).rule
    if mode == "yolo" and rule.answer == "ask":
        return _Judged(part, "allow")
    return _Judged(part, rule.answer, rule)


def _by_mode(part: Part, mode: Mode) -> RuleAnswer:
    """The table of the module's docstring."""
    if mode == "yolo":
        return "allow"
    match part.kind:
        case "think":
            return "allow"
        case "read" | "search":
            return "ask" if part.outside else "allow"
        case "edit" | "delete" | "move":
            if mode == "plan":
                return "deny"
            path = part.kind == "edit" and part.what == "path" and not part.protected
            if mode == "auto" and part.sandboxed and path:
                return "allow"
            return "allow" if mode in ("edits", "auto") and path and not part.outside else "ask"
        case "execute":
            if mode == "auto" and part.sandboxed:
                return "allow"
            if not part.read_only:
                return "deny" if mode == "plan" else "ask"
            return "ask" if mode == "ask" or part.outside else "allow"
        case "fetch":
            return "ask"
        case "other":
            return "deny" if mode == "plan" else "ask"
        case _:
            assert_never(part.kind)


def _matches(rule: Rule, part: Part, access: Access) -> Iterator[_Match]:
    """How `rule` matches `part`: once for each alternative of a command pattern that does."""
    try:
        pattern = patterns.parse(rule.pattern)
    except InvalidRequest:
        # From the journal of a version that knew other rules: what gives is ignored, what takes away takes all.
        if rule.answer != "allow":
            yield _Match(rule, part.kinds[next(iter(part.kinds))])
        return
    if not any(patterns.subject_covers(pattern.subject, own) for own in (*part.kinds, *part.kinds.values())):
        return
    gives = rule.answer == "allow"
    careful = gives and part.protected and part.kind not in ("read", "search")
    if pattern.plain:
        if not careful or part.what == "command" or pattern.subject in part.plain_only:
            yield _Match(rule, pattern.subject)
    elif pattern.subject in part.plain_only:
        return
    elif part.what == "command":
        yield from (
            _Match(rule, pattern.subject, words)
            for words in pattern.commands or ()
            if _covers_command(words, part, gives)
        )
    elif part.what == "host" and pattern.path is not None:
        domain = patterns.host_pattern(pattern.path, whole_domains=not gives)
        if patterns.covers(domain, part.steps):
            yield _Match(rule, pattern.subject, patterns.with_contents(domain))
    elif part.what == "path" and pattern.path is not None:
        reach = patterns.path_steps(pattern.path, access.root, access.home, whole_folders=not gives)
        if reach is None or not patterns.covers(reach, part.steps):
            return
        if careful and not _names_protected(reach, access):
            return
        # Compared are whole folders on both sides: a deny is not wider than the allow with the same text.
        yield _Match(rule, pattern.subject, patterns.with_contents(reach))


def _covers_command(words: patterns.Steps, part: Part, gives: bool) -> bool:
    if gives:
        return patterns.covers(words, part.steps) and set(part.named) <= set(words)
    bare = (part.steps[0].rpartition("/")[2], *part.steps[1:]) if part.steps else ()
    return patterns.covers(words, part.steps) or patterns.covers(words, bare)


def _names_protected(reach: patterns.Steps, access: Access) -> bool:
    wild = next((index for index, step in enumerate(reach) if patterns.is_wild(step)), len(reach))
    literal = tuple(step for step in reach if not patterns.is_wild(step))
    return is_protected(literal, ()) or is_protected(reach[:wild], access.own)


def _overrules(one: _Match, other: _Match, part: Part) -> bool:
    loosens = _SEVERITY[one.rule.answer] < _SEVERITY[other.rule.answer]
    if loosens and one.rule.scope == "project" and other.rule.scope != "project":
        return False
    if not _within(one, other, part):
        return False
    return not _within(other, one, part) or _NEARNESS[one.rule.scope] > _NEARNESS[other.rule.scope]


def _within(inner: _Match, outer: _Match, part: Part) -> bool:
    """Whatever `inner` matches, `outer` matches, as far as can be told."""
    kinds = {part.kinds[tool] for tool in part.kinds if patterns.subject_covers(inner.subject, tool)}
    if not patterns.subject_covers(outer.subject, inner.subject) and outer.subject not in kinds:
        return False
    return outer.reach is None or (inner.reach is not None and patterns.covers(outer.reach, inner.reach))


# What "always" means


def _always(access: Access, rules: Sequence[Rule], mode: Mode, needed: Sequence[Part]) -> str | None:
    """The narrowest useful rule that allows the call from now on; None when one rule cannot."""
    texts: tuple[str, ...] = ()
    if not all(part.rules for part in needed):
        return None
    if all(part.what == "command" for part in needed):
        texts = tuple(
            f"{access.tool}({'; '.join(dict.fromkeys(part.rules[end] for part in needed))})" for end in (0, -1)
        )
    elif len(needed) == 1:
        texts = needed[0].rules
    for text in texts:
        try:
            rule = parse_rule(text, "session")
        except InvalidRequest:
            continue  # a path or a word that no pattern can express
        if _strictest(_judge(access, (*rules, rule), mode)) == "allow":
            return rule.pattern
    return None


# Reasons

_SOURCE: dict[Scope, str] = {
    "user": "in the user's configuration",
    "project": "in the project's configuration",
    "session": "from an answer given in this session",
    "run": "given with this run",
}


def _listed(reasons: Iterable[str]) -> str:
    found = list(dict.fromkeys(reasons))
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more


def _named(rule: Rule) -> str:
    return f"the rule `{rule.answer} {rule.pattern}` {_SOURCE[rule.scope]}"


def _allowed(judged: Sequence[_Judged], mode: Mode) -> str:
    rules = list(dict.fromkeys(_named(j.rule) for j in judged if j.rule is not None))
    return f"Allowed by {_listed(rules)}." if rules else f"Allowed in mode {mode}."


def _asked(judged: Sequence[_Judged], mode: Mode) -> str:
    reasons = (_why(j.part) if j.rule is None else f"{_named(j.rule)} asks before `{j.part.shown}`" for j in judged)
    # Of what runs in the sandbox, mode `auto` asks about nothing but protected places.
    where = (
        ", not in a sandbox"
        if mode == "auto" and any(j.part.kind == "execute" for j in judged if j.rule is None)
        else ""
    )
    return f"{_listed(reasons)} (mode {mode}{where})."


def _why(part: Part) -> str:
    """Why the mode asks."""
    shown = f"`{part.shown}`"
    if part.what == "whole":
        if part.kind == "execute":
            return f"not all of {shown} was understood, so that no pattern can allow it"
        if part.kind == "other":
            return f"{shown} is for a server to do, and what that does is not known here"
        return f"{shown} may do more than read in the workspace"
    if part.what == "command":
        if part.doubt:
            return f"{shown} {part.doubt}"
        if not part.read_only:
            return f"{shown} is not known to only read"
        if part.outside:
            return f"{shown} names what is outside of the workspace: {_listed(short(path) for path in part.outside)}"
        return f"{shown} is a command, and every command is asked about"
    if part.what == "host":
        return f"{shown} is a server, and what is asked of it leaves this machine"
    if part.outside:
        return f"{shown} is outside of the workspace"
    if part.protected:
        return f"{shown} is a protected place: it can decide what other programs run, or what may be run"
    return f"{shown} would be changed"


def _denied(judged: _Judged) -> str:
    shown = f"`{judged.part.shown}`"
    if judged.rule is None:
        return (
            f"Denied: mode plan is read only, and {shown} may change something. Put it into your plan instead;"
            " the user can switch to mode edits to have it done."
        )
    return (
        f"Denied by {_named(judged.rule)}: {shown}. Do not look for another way to the same end; say what it was for."
        " Only the user can permit it, by changing that rule or by allowing something narrower."
    )
