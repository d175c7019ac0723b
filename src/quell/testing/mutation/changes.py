"""Mutants of the session machine: one small change to its code, made from the syntax tree.

A mutant is put into place by exchanging the code object of one function, so that nothing on disk is touched and whoever has imported
the function gets the changed one.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import random
import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path

from msgspec import Struct

MODULES = ("decide", "decide_queue", "decide_revert", "decide_run", "evolve", "session", "step")
"""The machine: `quell.core.…`. Of `session` what is derived from the state; what others show of it (`Summary`) is left out."""

LEFT_OUT = (
    "Summary",
    "summary",
    "Session.mode_now",
    "fold",
    "child_id",
    "_refusal",
    "_fate",
)  # the last two only say why, in words


class Mutant(Struct, frozen=True):
    """A change: where, the text of the line, what is done to it (the `nth` of that kind there), and its number in the function."""

    module: str
    function: str
    text: str
    change: str
    nth: int
    number: int

    @property
    def name(self) -> str:
        return f"{self.module}.{self.function}: {self.change}: {self.text}" + (f" ({self.nth})" if self.nth > 1 else "")


Change = tuple[str, int, Callable[[], None]]


def mutants() -> list[Mutant]:
    """Every mutant of the machine."""
    found: list[Mutant] = []
    for module in MODULES:
        lines = _source(module).splitlines()
        for function, node in _functions(module).items():
            seen = Counter[tuple[str, str]]()
            for number, (change, line, _) in enumerate(_changes(node)):
                text = lines[line - 1].strip()
                seen[change, text] += 1
                found.append(Mutant(module, function, text, change, seen[change, text], number))
    return found


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The machine with this change."""
    target = _find(mutant.module, mutant.function)
    before = target.__code__
    target.__code__ = _compiled(mutant)
    try:
        yield
    finally:
        target.__code__ = before


def _find(module: str, function: str) -> types.FunctionType:
    found: object = importlib.import_module(f"quell.core.{module}")
    for name in function.split("."):
        found = inspect.getattr_static(found, name)
    if isinstance(found, property):
        found = found.fget
    assert isinstance(found, types.FunctionType), f"{function} is not a function"
    return found


def _source(module: str) -> str:
    return Path(inspect.getfile(importlib.import_module(f"quell.core.{module}"))).read_text(encoding="utf-8")


@cache
def _functions(module: str) -> dict[str, ast.FunctionDef]:
    found: dict[str, ast.FunctionDef] = {}
    for node in ast.parse(_source(module)).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}": inner for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return {name: node for name, node in found.items() if name not in LEFT_OUT}


def _compiled(mutant: Mutant) -> types.CodeType:
    """The code object of the changed function."""
    node = copy.deepcopy(_functions(mutant.module)[mutant.function])
    _, _, change = next(islice(_changes(node), mutant.number, None))
    change()
    node.decorator_list = []
    tree = ast.fix_missing_locations(ast.Module([node], []))
    scope = compile(tree, f"<mutant of {mutant.function}>", "exec", dont_inherit=True)
    return next(code for code in scope.co_consts if isinstance(code, types.CodeType) and code.co_name == node.name)


# The changes


def _changes(function: ast.FunctionDef) -> Iterator[Change]:
    """Every change to this function: a description, its line, and a procedure that makes it."""
    for parent in _walk(function):
        for body in _bodies(parent):
            yield from _of_statements(body)
        yield from _of_expressions(parent)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """As written, without assertions: they say what holds, and decide nothing."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Assert):
            yield from _walk(child)


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
            yield body


def _of_statements(body: list[ast.stmt]) -> Iterator[Change]:
    """Each statement left out, or exchanged with the next."""
    for index, statement in enumerate(body):
        if _is_idle(statement):
            continue

        def leave_out(index: int = index) -> None:
            body[index] = ast.copy_location(ast.Pass(), body[index])

        yield "leave out", statement.lineno, leave_out
        following = body[index + 1] if index + 1 < len(body) else None
        if following is None or _is_idle(following) or isinstance(statement, ast.Return | ast.Raise):
            continue
        if not _independent(statement, following):

            def swap(index: int = index) -> None:
                body[index], body[index + 1] = body[index + 1], body[index]

            yield "swap with the next", statement.lineno, swap


def _is_idle(statement: ast.stmt) -> bool:
    """Nothing to leave out: documentation, assertions, `pass`, and `return None`, which ends a branch that ends anyway."""
    if isinstance(statement, ast.Expr):
        value = statement.value
        never = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "assert_never"
        return never or isinstance(value, ast.Constant)
    nothing = (
        isinstance(statement, ast.Return)
        and isinstance(statement.value, ast.Constant)
        and statement.value.value is None
    )
    return nothing or isinstance(statement, ast.Assert | ast.Pass)


def _independent(first: ast.stmt, second: ast.stmt) -> bool:
    """Two assignments, or an assignment and a guard, of which neither looks at the other's: their order is nothing but order."""
    if _is_name(first) or _is_name(second):
        pass
    elif not (_is_plain(first) and _is_plain(second)) or (isinstance(first, ast.If) and isinstance(second, ast.If)):
        return False
    names = [({n.id for n in ast.walk(s) if isinstance(n, ast.Name)}, _assigned(s)) for s in (first, second)]
    return not (names[0][1] & names[1][0] or names[1][1] & names[0][0])


def _is_name(statement: ast.stmt) -> bool:
    """A name for what comes of values: it looks at no step, whose state changes."""
    if not isinstance(statement, ast.Assign):
        return False
    return not any(isinstance(node, ast.Name) and node.id in ("step", "self") for node in ast.walk(statement.value))


def _is_plain(statement: ast.stmt) -> bool:
    """An assignment, or a guard that does nothing but leave."""
    if isinstance(statement, ast.If):
        leaves = all(isinstance(inner, ast.Raise | ast.Return) or _is_plain(inner) for inner in statement.body)
        return not statement.orelse and leaves
    return isinstance(statement, ast.Assign | ast.AnnAssign)


def _assigned(statement: ast.stmt) -> set[str]:
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _of_expressions(node: ast.AST) -> Iterator[Change]:
    """Conditions turned round, always true and never true; parts of `and` and `or` left out; comparisons, numbers and keywords."""
    if isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(node, ast.Assert):
        yield from _of_test(node, "test", node.test.lineno)
    if isinstance(node, ast.match_case) and node.guard is not None:
        yield from _of_test(node, "guard", node.guard.lineno)
    if isinstance(node, ast.comprehension):
        for index, test in enumerate(node.ifs):

            def drop(index: int = index) -> None:
                del node.ifs[index]

            yield "drop the filter", test.lineno, drop
    if isinstance(node, ast.BoolOp):
        for index, value in enumerate(node.values):

            def part(index: int = index) -> None:
                del node.values[index]
                if len(node.values) == 1:
                    node.values.append(copy.deepcopy(node.values[0]))  # itself, twice: the shape of the tree stays

            yield f"drop part {index + 1} of {type(node.op).__name__.lower()}", value.lineno, part
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield from _of_comparison(node)
    if isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant) and isinstance(node.right.value, int):
        yield from _of_number(node)
    if isinstance(node, ast.Call):
        yield from _of_call(node)
    if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        starred = [element for element in node.elts if isinstance(element, ast.Starred)]
        if starred:

            def turn() -> None:
                node.elts.reverse()

            yield "turn the order round", node.lineno, turn


def _of_test(node: ast.AST, name: str, line: int) -> Iterator[Change]:
    def negate() -> None:
        test = getattr(node, name)
        setattr(node, name, ast.copy_location(ast.UnaryOp(ast.Not(), test), test))

    def always(value: bool) -> Callable[[], None]:
        return lambda: setattr(node, name, ast.copy_location(ast.Constant(value), getattr(node, name)))

    yield "negate", line, negate
    yield "always", line, always(True)
    yield "never", line, always(False)


_OTHERS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
}


def _of_comparison(node: ast.Compare) -> Iterator[Change]:
    for other in _OTHERS[type(node.ops[0])]:

        def exchange(other: type[ast.cmpop] = other) -> None:
            node.ops[0] = other()

        yield f"{type(node.ops[0]).__name__} becomes {other.__name__}", node.lineno, exchange


def _of_number(node: ast.BinOp) -> Iterator[Change]:
    assert isinstance(node.right, ast.Constant)
    assert isinstance(node.right.value, int)
    number = node.right.value
    for by in (-1, 1):

        def shift(by: int = by) -> None:
            assert isinstance(node.right, ast.Constant)
            assert isinstance(node.right.value, int)
            node.right = ast.copy_location(ast.Constant(node.right.value + by), node.right)

        yield f"{number} becomes {number + by}", node.lineno, shift


def _of_call(node: ast.Call) -> Iterator[Change]:
    """A named argument that is forgotten, or that is None or a truth value and becomes another."""
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None:

            def forget(index: int = index) -> None:
                del node.keywords[index]

            yield f"forget {keyword.arg}", keyword.value.lineno, forget
            if isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, bool):

                def flip(index: int = index) -> None:
                    value = node.keywords[index].value
                    assert isinstance(value, ast.Constant)
                    node.keywords[index].value = ast.copy_location(ast.Constant(not value.value), value)

                yield f"flip {keyword.arg}", keyword.value.lineno, flip


def pairs(of: list[Mutant], count: int, seed: int) -> Iterator[tuple[Mutant, Mutant]]:
    """A seeded sample of pairs of changes to different functions."""
    chosen = random.Random(seed)
    while count:
        first, second = chosen.sample(of, 2)
        if (first.module, first.function) != (second.module, second.function):
            count -= 1
            yield first, second
