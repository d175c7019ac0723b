"""The size gate: what keeps the code readable, checked.

It measures files, functions and classes; looks for imports inside functions, for silenced checks without a reason, and for
words that say nothing in the names of modules and classes. Prints one line a finding and exits 1 if there is any.

The limits are raised only by a decision record, one place at a time, in RAISED. What is listed there and in LAZY may not be
looser than the code: an entry that is no longer needed is a finding too.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FILE_LINES = 500
FUNCTION_LINES = 60
CLASS_METHODS = 25
CLASS_ATTRIBUTES = 12  # assigned to self; what is declared in the body of a class is not counted

MEASURED = ("src", "tests", "benchmarks", "scripts", "examples")
OURS = "src"  # lazy imports and words matter in the product only

VAGUE = {"manager", "service", "handler", "helper", "util", "common", "base", "data", "info"}

# Imports inside functions, where start-up needs them: file → modules, as written after `import` or `from`.
LAZY: dict[str, set[str]] = {
    "src/quell/__main__.py": {
        "datetime",
        "quell.cli.commands",
        "quell.cli.failure",
        "quell.cli.options",
        "quell.cli.run",
        "quell.cli.serving",
        "quell.config.paths",
        "tempfile",
        "traceback",
    },
    "src/quell/app/folders.py": {
        "quell.workspace.checkpoints",
        "quell.workspace.folder",
        "quell.workspace.sandboxing",
    },
    "src/quell/app/hooks.py": {"quell.hooks", "quell.workspace.programs"},
    "src/quell/app/languages.py": {"quell.config.languages", "quell.lsp", "quell.workspace.programs", "shutil"},
    "src/quell/app/journals.py": {
        "quell.store.postgres.address",
        "quell.store.postgres.doorbell",
        "quell.store.postgres.journal",
    },
    "src/quell/app/servers.py": {"quell.mcp", "quell.mcp.server", "quell.workspace.programs"},
    "src/quell/cli/commands.py": {"quell.cli.run", "quell.config.file"},
    "src/quell/cli/daemon.py": {"fcntl", "quell.config.paths", "subprocess"},
    "src/quell/cli/failure.py": {"quell.core.errors"},
    "src/quell/cli/lookup.py": {"urllib.parse"},
    "src/quell/cli/narrate.py": {"datetime"},
    "src/quell/cli/outcome.py": {"decimal"},
    "src/quell/cli/run.py": {"quell.cli.asking", "quell.cli.children"},
    "src/quell/cli/serving.py": {"quell"},
    "src/quell/cli/terminal.py": {"shlex", "subprocess", "termios", "unicodedata"},
    "src/quell/config/file.py": {"difflib", "quell.config.languages"},
    "src/quell/config/paths.py": {"hashlib", "pwd"},
    "src/quell/server/sessions.py": {"quell.server.markdown", "quell.server.page"},
    "src/quell/testing/postgresql.py": {"psycopg"},
    "src/quell/tools/__init__.py": {"quell.tools.table"},
    "src/quell/tools/bash.py": {"quell.tools.reach"},
    "src/quell/tools/jobs.py": {"shutil"},
    "src/quell/tools/shell.py": {"tree_sitter", "tree_sitter_bash"},
    "src/quell/tools/web.py": {"quell.tools.html"},
    "src/quell/web/addresses.py": {"idna"},
    "src/quell/web/guarded.py": {"quell.web.exchange"},
    "src/quell/web/search.py": {"html", "quell.web.exchange"},
    "src/quell/workspace/ignore.py": {"pathspec"},
    "src/quell/workspace/programs.py": {"tempfile"},
    "src/quell/workspace/sandboxing.py": {"shutil"},
    "src/quell/workspace/search.py": {"shutil"},
    "src/quell/workspace/supervisor.py": {"ctypes", "subprocess"},
}


class Raised(NamedTuple):
    """A limit raised for one place: the size that it has now, and the decision record that says why."""

    size: int
    record: str


# (what, place) → as the finding says them, without the line number: ("file", "src/quell/x.py"), ("function", "src/quell/x.py f").
RAISED: dict[tuple[str, str], Raised] = {}


class Size(NamedTuple):
    """One measurement."""

    what: str
    place: str
    line: int
    size: int
    limit: int
    unit: str


class Silencer(NamedTuple):
    """A comment that silences a check: how to find it, what must follow it, and an example of that."""

    found: re.Pattern[str]
    complete: re.Pattern[str]
    example: str


SILENCERS = (
    Silencer(
        re.compile(r"#\s*type:\s*ignore\b(?P<rest>.*)"),
        re.compile(r"\[[a-z, -]+\]\s+# \S+"),
        "# type: ignore[code]  # reason",
    ),
    Silencer(
        re.compile(r"#\s*(?:ruff:\s*|flake8:\s*)?noqa\b(?P<rest>.*)", re.IGNORECASE),
        re.compile(r":\s*[A-Z]+[0-9]+(,\s*[A-Z]+[0-9]+)*\s+(#|-) \S+"),
        "# noqa: CODE  # reason",
    ),
)


def main() -> int:
    """Check the checkout that this file is in."""
    found = findings(Path(__file__).resolve().parent.parent, lazy=LAZY, raised=RAISED)
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


def findings(root: Path, *, lazy: dict[str, set[str]], raised: dict[tuple[str, str], Raised]) -> list[str]:
    """All that is wrong under `root`, one line each."""
    found: list[str] = []
    sizes: list[Size] = []
    lazy_seen: dict[str, set[str]] = {}
    for path in sorted(path for top in MEASURED for path in (root / top).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8")
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            found.append(f"{name}:{error.lineno}: {error.msg}")
            continue
        sizes += measure(name, text, tree)
        found += silenced(name, text)
        if name.startswith(OURS + "/"):
            found += vague(name, tree)
            for line, module in imports_in_functions(tree):
                lazy_seen.setdefault(name, set()).add(module)
                if module not in lazy.get(name, set()):
                    found.append(f"{name}:{line}: import of {module} inside a function, not listed in LAZY")
    found += too_large(sizes, raised, root)
    for name, modules in lazy.items():
        found += [f"{name}: LAZY lists {module}, not needed" for module in sorted(modules - lazy_seen.get(name, set()))]
    return found


def measure(name: str, text: str, tree: ast.Module) -> Iterator[Size]:
    """The sizes of a file and of the functions and classes in it."""
    yield Size("file", name, 1, len(text.splitlines()), FILE_LINES, "lines")
    for node, qualified in definitions(tree):
        place = f"{name} {qualified}"
        if isinstance(node, ast.ClassDef):
            methods = {child.name for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)}
            yield Size("class", place, node.lineno, len(methods), CLASS_METHODS, "methods")
            yield Size("class", place, node.lineno, len(own_attributes(node)), CLASS_ATTRIBUTES, "own attributes")
        else:
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Size("function", place, node.lineno, lines, FUNCTION_LINES, "lines")


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[Definition, str]]:
    """Every function and class, however deep, with its qualified name."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, Definition):
            yield child, prefix + child.name
            yield from definitions(child, f"{prefix}{child.name}.")
        else:
            yield from definitions(child, prefix)


def own_attributes(node: ast.ClassDef) -> set[str]:
    """The x of every `self.x = …` in the class."""
    return {
        child.attr
        for child in ast.walk(node)
        if isinstance(child, ast.Attribute)
        and isinstance(child.ctx, ast.Store)
        and isinstance(child.value, ast.Name)
        and child.value.id == "self"
    }


def too_large(sizes: list[Size], raised: dict[tuple[str, str], Raised], root: Path) -> Iterator[str]:
    """What is over its limit, and what was raised further than it has to be."""
    needed = set()
    for what, place, line, size, limit, unit in sizes:
        if size <= limit:
            continue
        needed.add((what, place))
        allowed = raised.get((what, place))
        if allowed is None or size > allowed.size:
            path, _, qualified = place.partition(" ")
            subject = f"{what} {qualified}".rstrip()
            yield f"{path}:{line}: {subject} has {size} {unit}, allowed are {allowed.size if allowed else limit}"
        elif size < allowed.size:
            yield f"{place}: RAISED allows {allowed.size} {unit}, {size} would do"
    for key, entry in raised.items():
        if key not in needed:
            yield f"{key[1]}: RAISED has an entry, not needed"
        if not (root / entry.record).is_file():
            yield f"{key[1]}: RAISED names {entry.record}, which does not exist"


def silenced(name: str, text: str) -> Iterator[str]:
    """Silenced checks that do not say which and why."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        for silencer in SILENCERS:
            match = silencer.found.search(token.string)
            if match and not silencer.complete.match(match["rest"]):
                yield f"{name}:{token.start[0]}: needs a code and a reason: {silencer.example}"


def vague(name: str, tree: ast.Module) -> Iterator[str]:
    """Modules, packages and classes whose names say nothing."""
    path = Path(name)
    own = path.parent.name if path.stem == "__init__" else path.stem
    for word in words(own):
        yield f"{name}:1: the module's name says nothing: {word}"
    for node, qualified in definitions(tree):
        if isinstance(node, ast.ClassDef):
            for word in words(node.name):
                yield f"{name}:{node.lineno}: the name of class {qualified} says nothing: {word}"


def words(name: str) -> set[str]:
    """The vague words in a snake_case or CamelCase name, the plural too."""
    parts = {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)}
    return VAGUE & (parts | {part.removesuffix("s") for part in parts})


def imports_in_functions(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and module of every import that waits until a function is called."""
    functions = (node for node, _ in definitions(tree) if not isinstance(node, ast.ClassDef))
    inside = {child for function in functions for child in ast.walk(function)}
    for child in sorted((c for c in inside if isinstance(c, ast.Import | ast.ImportFrom)), key=lambda c: c.lineno):
        if isinstance(child, ast.ImportFrom):
            yield child.lineno, "." * child.level + (child.module or "")
        else:
            yield from ((child.lineno, alias.name) for alias in child.names)


if __name__ == "__main__":
    sys.exit(main())
