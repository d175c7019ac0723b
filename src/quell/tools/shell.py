"""A line of shell taken apart: every simple command in it, wherever it stands, and every file that it is redirected to.

`parse` reports what bash would do, as far as that can be known without running anything; a word that depends on more than its own
characters is `dynamic`. What is not understood makes the line `opaque`: the parser's errors, kinds of nodes that are not named here, and
what bash and the parser may see differently. Nothing here judges: that is `readonly`, and `core.permissions`.

What a command runs by its words alone, `sudo rm x` or `sh -c 'rm x'`, is reported after it as if it stood there: `wrappers` knows those.
Arithmetic, `${name@P}` and the like can run commands that are hidden in the values of variables. They are reported as commands of
their own, under names that no program has, so that only a rule for everything allows them.
"""

from __future__ import annotations

import re
import time
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from quell.tools.flags import named
from quell.tools.wrappers import NOTHING, Inside, Word, is_assignment, unwrap

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Tree

_DEPTH = 100
"""Nodes are not followed deeper: Python's own stack would end."""
_NODES = 5000
_MOST_WORDS = 2000
"""Of one command. What has more of either is not looked at any further."""
_PATIENCE = 0.15
_CHUNK = 65536
_NESTED_SHELLS = 4
_NESTED_WRAPPERS = 8


_STRUCTURE = named(
    "program redirected_statement list pipeline subshell compound_statement do_group if_statement"
    " elif_clause else_clause while_statement case_statement case_item negated_command"
    " command_substitution process_substitution string concatenation heredoc_redirect heredoc_body"
    " herestring_redirect variable_assignments array command_name subscript unary_expression"
    " binary_expression ternary_expression parenthesized_expression postfix_expression"
)
_LEAVES = named(
    "word number raw_string ansi_c_string string_content simple_expansion variable_name"
    " special_variable_name file_descriptor heredoc_start heredoc_end heredoc_content comment"
    " extglob_pattern regex test_operator translated_string brace_expression"
)
_WORDS = named(
    "word number raw_string ansi_c_string string concatenation simple_expansion expansion command_substitution"
    " process_substitution arithmetic_expansion command_name variable_assignment extglob_pattern brace_expression"
    " translated_string herestring_redirect $"
)
_WITH_GAPS = named("string heredoc_body heredoc_redirect expansion arithmetic_expansion translated_string regex")
"""Quoted, or dynamic whatever is in them."""
_GAP = re.compile(rb"(?:[ \t\n]|\\\n)*")
_SAME_LINE = re.compile(rb"(?:[ \t]|\\\n)*")
_GAPS = {
    "concatenation": re.compile(b""),
    "command": _SAME_LINE,
    "declaration_command": _SAME_LINE,
    "redirected_statement": _SAME_LINE,
    "simple_expansion": re.compile(b""),
    "unset_command": _SAME_LINE,
}
_SPLITTING = re.compile(r"(?<!\\)(?:\\\\)*[ \t\n`\"'|&;<>()$]")
"""What ends a word, if it is not escaped."""
_DESCRIPTOR = re.compile(r"\d+|\{[A-Za-z_]\w*\}")
_ODD_TILDE = re.compile(r"~(?![A-Za-z_][\w-]*(?:/|$)|/|$)")
"""Folders that only the shell knows: `~+`, `~-`, `~2`."""
_PLAIN_EXPANSION = re.compile(r"\$\{[A-Za-z_]\w*\}|\$\{[A-Za-z_]\w*:?[-+][\w./ -]*\}|\$\{#?[A-Za-z_]\w*\}")
_PLAIN_ARITHMETIC = re.compile(r"[\d\s+*/%()<>=!&|^~?:$-]*")
_SEEN_DIFFERENTLY = re.compile(
    r"[^\S \t\n]|[^\s!-~\u00a1-\uffff\U00010000-\U0010ffff]|[\ud800-\udfff]|(?<!\s)\\\n(?=\S)"
    r"|(?:^|\n)[ \t]*\\\n|\\[ \t]\\\n"
)
"""White space that is none to bash, control characters, a word that goes on in the next line (to the parser it is two), and a line that
begins with going on in the next (to the parser it belongs to the one before)."""
_WRITING = frozenset({">", ">>", ">|", "&>", "&>>", "<>", ">&"})


class Simple(Struct, frozen=True):
    """A simple command; assignments before it are its first words.

    `inside` is what it runs. `direct`: the shell runs it itself; `fed`: more words are added to it when it runs.
    """

    words: tuple[Word, ...]
    inside: Inside = NOTHING
    direct: bool = True
    fed: bool = False


class Line(Struct, frozen=True):
    """In the order in which they stand. `writes` and `reads` are the targets of redirections."""

    commands: tuple[Simple, ...]
    writes: tuple[Word, ...] = ()
    reads: tuple[Word, ...] = ()
    opaque: bool = False


@lru_cache(maxsize=64)
def parse(source: str) -> Line:
    """Once for the judgement and once more for the run, with one outcome."""
    return _parse(source, _NESTED_SHELLS)


def _parse(source: str, shells: int) -> Line:
    reading = _Reading(source.encode("utf-8", "surrogatepass"), shells)
    if _SEEN_DIFFERENTLY.search(source):
        reading.opaque = True
    tree = _tree(reading.source)
    if tree is None:
        return Line((), opaque=True)
    reading.opaque |= tree.root_node.has_error
    reading.visit(tree.root_node, 0)
    return Line(tuple(reading.commands), tuple(reading.writes), tuple(reading.reads), reading.opaque)


def _tree(source: bytes) -> Tree | None:
    """None when it takes too long, counted in the time of this thread, so that a busy machine does not matter.

    Recovering from errors can take the parser minutes for what a model writes in one.
    """
    parser = _parser()
    deadline = time.thread_time() + _PATIENCE
    try:
        return parser.parse(
            lambda at, point: source[at : at + _CHUNK],
            progress_callback=lambda at, erroneous: time.thread_time() > deadline,
        )
    except ValueError:
        parser.reset()
        return None


@cache
def _parser() -> Parser:
    import tree_sitter  # 25 ms that only a first command should pay
    import tree_sitter_bash  # the same

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


class _Reading:
    """One pass over the tree."""

    def __init__(self, source: bytes, shells: int) -> None:
        self.source = source
        self.commands: list[Simple] = []
        self.writes: list[Word] = []
        self.reads: list[Word] = []
        self.opaque = False
        self._shells = shells
        self._nodes = 0

    def visit(self, node: Node, depth: int) -> None:
        self._nodes += 1
        if depth > _DEPTH or self._nodes > _NODES:
            self.opaque = True
            return
        if not self._is_seamless(node):
            self.opaque = True
        match node.type:
            case "command" | "declaration_command" | "unset_command":
                self._command(node)
            case "variable_assignment":
                if node.parent is None or node.parent.type not in {"command", "declaration_command"}:
                    self.commands.append(Simple((self._word(node),)))
            case "test_command":
                self._test(node)
            case "file_redirect":
                self._redirect(node)
            case "function_definition":
                # What it does is reported with its body; that it gives a name another meaning is reported here.
                self._hidden("function", node.child_by_field_name("name"))
            case "for_statement" | "c_style_for_statement":
                self._hidden("for", node.child_by_field_name("variable") or node)
            case "arithmetic_expansion" | "compound_statement" if self._text(node).startswith(("$((", "((", "$[")):
                if not _PLAIN_ARITHMETIC.fullmatch(self._text(node).replace("[", "(").replace("]", ")")):
                    self._hidden("((", node)
            case "expansion":
                if not _PLAIN_EXPANSION.fullmatch(self._text(node)):
                    self._hidden("${", node)
            case kind if kind not in _STRUCTURE and kind not in _LEAVES:
                self.opaque = True
        for child in node.children:
            if self._nodes > _NODES:
                return
            if child.is_named:
                self.visit(child, depth + 1)
            elif not self._is_seamless(child):
                self.opaque = True

    def _is_seamless(self, node: Node) -> bool:
        """Nothing but white space is between its parts, and between two words there is some.

        Where that is not so the parser has skipped something, or has cut one word in two.
        """
        if node.type == "file_descriptor":
            return bool(_DESCRIPTOR.fullmatch(self._text(node)))
        if not node.is_named and self._text(node) != node.type:
            return False  # an operator that is more than itself
        if node.type == "word":
            return not _SPLITTING.search(self._text(node))
        if node.type in _WITH_GAPS or not node.children:
            return True
        allowed = _GAPS.get(node.type, _GAP)
        at = 0 if node.parent is None else node.start_byte
        last = ""
        for child in node.children:
            gap = self.source[at : child.start_byte]
            if not allowed.fullmatch(gap):
                return False
            if not gap and last in _WORDS and child.type in _WORDS and node.type != "concatenation":
                return False
            at, last = child.end_byte, child.type
        return bool(allowed.fullmatch(self.source[at : len(self.source) if node.parent is None else node.end_byte]))

    def _command(self, node: Node) -> None:
        children = node.children[:_MOST_WORDS]
        self.opaque |= len(children) == _MOST_WORDS
        words = [self._word(child) for child in children if child.type not in {"file_redirect", "herestring_redirect"}]
        if node.parent is not None and node.parent.type == "redirected_statement":
            swallowed = _swallowed(node.parent)
            self.opaque |= len(swallowed) > _MOST_WORDS
            words += [self._word(child) for child in swallowed[:_MOST_WORDS]]
        self._simple(tuple(words), direct=True, fed=False, depth=_NESTED_WRAPPERS)

    def _simple(self, words: tuple[Word, ...], *, direct: bool, fed: bool, depth: int) -> None:
        """The command, and what it runs."""
        inside = unwrap(words)
        self.commands.append(Simple(words, inside, direct, fed))
        name = next((word for word in words if not is_assignment(word)), Word(""))
        self.opaque |= name.dynamic or name.glob or name.text == "!" or inside.unclear
        if depth == 0 and (inside.commands or inside.lines):
            self.opaque = True
            return
        for inner in inside.commands:
            same = direct and (is_assignment(words[0]) or name.text == "time")
            self._simple(inner, direct=same, fed=fed or name.text == "xargs", depth=depth - 1)
        for line in inside.lines:
            self._nested(line)

    def _nested(self, words: tuple[Word, ...]) -> None:
        """The words are a line of shell themselves."""
        if self._shells == 0 or any(word.dynamic or word.glob for word in words):
            self.opaque = True
            return
        inner = _parse(" ".join(word.text for word in words), self._shells - 1)
        self.commands += [replace(each, direct=False) for each in inner.commands]
        self.writes += inner.writes
        self.reads += inner.reads
        self.opaque |= inner.opaque

    def _test(self, node: Node) -> None:
        words: list[Word] = []

        def collect(part: Node) -> None:
            if part.type in {"unary_expression", "binary_expression", "test_command", "parenthesized_expression"}:
                for child in part.children:
                    collect(child)
            else:
                words.append(self._word(part))

        collect(node)
        self.commands.append(Simple(tuple(words)))

    def _redirect(self, node: Node) -> None:
        operator = next((child.type for child in node.children if not child.is_named), "")
        targets, swallowed = _targets(node)
        if swallowed and not _redirects_command(node):
            self.opaque = True
        target = targets[0] if targets else None
        if target is None or target.type in {"number", "file_descriptor"}:
            return
        word = self._word(target)
        if target.type == "process_substitution" or (operator in {">&", "<&"} and word.text == "-"):
            return  # its commands are visited with the other children
        if word.dynamic or word.glob:
            self.opaque = True
        elif operator in _WRITING:
            self.writes.append(word)
        else:
            self.reads.append(word)

    def _hidden(self, name: str, node: Node | None) -> None:
        text = "" if node is None else self._text(node)
        if name == "for" and re.fullmatch(r"[a-z_][a-z0-9_]*", text):
            return  # a loop over a variable of the line's own
        self.commands.append(Simple((Word(name), Word(text, dynamic=True))))

    def _text(self, node: Node) -> str:
        return self.source[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def _word(self, node: Node) -> Word:
        text = self._text(node)
        match node.type:
            case "command_name" | "concatenation":
                parts = [self._word(child) for child in node.children]
                return Word(
                    "".join(part.text for part in parts),
                    any(part.dynamic for part in parts),
                    any(part.glob for part in parts),
                    all(part.quoted for part in parts),
                )
            case "word":
                plain = re.sub(r"\\(?:\n|(.))", lambda match: match[1] or "", text)
                bare = re.sub(r"\\.", "", text, flags=re.DOTALL)
                odd = bool(set("{}") & set(bare)) or bool(_ODD_TILDE.match(text))
                return Word(plain, dynamic=odd, glob=bool(set("*?[") & set(bare)))
            case "raw_string":
                return Word(text[1:-1], quoted=True)
            case "ansi_c_string":
                return Word(text[2:-1], dynamic="\\" in text, quoted=True)
            case "string":
                dynamic = any(child.type != "string_content" for child in node.named_children)
                plain = re.sub(r'\\(?:\n|([$`"\\]))', lambda match: match[1] or "", text[1:-1])
                return Word(text[1:-1] if dynamic else plain, dynamic=dynamic, quoted=True)
            case "variable_assignment":
                return Word(text, dynamic=True)
            case "$" | "``":
                return Word(text, dynamic=True)
            case _ if not node.is_named or node.type in {"number", "variable_name", "test_operator"}:
                return Word(text)
            case "extglob_pattern" | "regex":
                return Word(text, glob=True)
            case _:
                return Word(text, dynamic=True)


def _swallowed(node: Node) -> list[Node]:
    """The parser takes words that follow a redirection for more of its targets; they are the command's."""
    found: list[Node] = []
    for child in node.named_children:
        if child.type == "file_redirect":
            found += _targets(child)[1]
        elif child.type == "heredoc_redirect":
            found += [*child.children_by_field_name("argument"), *_swallowed(child)]
    return found


def _targets(redirect: Node) -> tuple[list[Node], list[Node]]:
    """What it is to or from, and the words that it has swallowed."""
    words = redirect.children_by_field_name("destination")
    own = 0 if any(child.type in {">&-", "<&-"} for child in redirect.children) else 1
    return words[:own], words[own:]


def _redirects_command(redirect: Node) -> bool:
    node = redirect.parent
    while node is not None and node.type == "heredoc_redirect":
        node = node.parent
    body = None if node is None or node.type != "redirected_statement" else node.child_by_field_name("body")
    return body is not None and body.type in {"command", "declaration_command", "unset_command"}
