"""Real changes of files, replayed as the calls that a model would make: `python -m tests.tools.replay [REPOSITORY] [--changes N]`.

The changes are those of a git history, or, with `--trees OLD NEW`, what two releases of something differ in. Each is made in several
manners, and the file has to be afterwards what it became in truth, to the byte:

- `multiedit`: every hunk with three lines of context, more where that is not unique, in one call;
- `edit`: every hunk by itself, with no more context than makes it unique;
- `numbered`: hunks copied with the line numbers of `view`;
- `damaged`: hunks with indentation taken away, tabs turned to spaces and blanks at the ends of lines lost: what the forgiving match is for;
- `write`: the whole file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from tests.tools.conftest import Hands

MANNERS = ("multiedit", "edit", "numbered", "damaged", "write")
CONTEXT = 3
LARGEST = 200_000


class Changed(NamedTuple):
    name: str
    before: bytes
    after: bytes


class Hunk(NamedTuple):
    """`old` is unique in the file as the hunks before it left it; it begins in line `line`."""

    old: str
    new: str
    line: int


class Outcome(NamedTuple):
    """`how`: exact, fallback, refused, or wrong (the file is another than it should be)."""

    changed: Changed
    manner: str
    how: str
    said: str = ""


def from_git(repository: Path, limit: int) -> list[Changed]:
    """The newest changes of text files."""
    log = _git(repository, "log", "--no-merges", "--diff-filter=M", "--raw", "--abbrev=40", "--format=")
    found: dict[tuple[str, str], Changed] = {}
    for line in log.decode(errors="surrogateescape").splitlines():
        marks, _, name = line.partition("\t")
        _, mode, old, new, *_ = marks.split(" ")
        if mode.startswith("100") and (old, new) not in found:
            change = Changed(name, _git(repository, "cat-file", "blob", old), _git(repository, "cat-file", "blob", new))
            if _fits(change):
                found[old, new] = change
        if len(found) == limit:
            break
    return list(found.values())


def from_trees(old: Path, new: Path, limit: int) -> list[Changed]:
    """Files that are in both folders and differ."""
    found: list[Changed] = []
    for path in sorted(each for each in new.rglob("*") if each.is_file() and not each.is_symlink()):
        name = path.relative_to(new)
        if not (old / name).is_file():
            continue
        change = Changed(str(name), (old / name).read_bytes(), path.read_bytes())
        if change.before != change.after and _fits(change):
            found.append(change)
    return found[:limit]


def _git(repository: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(repository), *arguments], check=True, capture_output=True).stdout


def _fits(change: Changed) -> bool:
    """A text that a model could have changed: not empty before, and not a generated file of megabytes."""
    return bool(change.before) and not any(
        b"\0" in content or len(content) > LARGEST for content in (change.before, change.after)
    )


def hunks(before: str, after: str, context: int) -> Iterator[Hunk]:
    """What a model sends one after the other, each on what the ones before it left."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    text = before
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(max(context, 1)):
        first, last = group[0], group[-1]
        i1, i2, j1, j2 = first[1], last[2], first[3], last[4]
        if context == 0:
            i1, j1 = (first[2], first[4]) if first[0] == "equal" else (i1, j1)
            i2, j2 = (last[1], last[3]) if last[0] == "equal" else (i2, j2)
        # The file so far is new up to the hunk, and old from there on.
        done, rest = new[:j1], old[i2:]
        above = below = 0
        while True:
            wanted = "".join([*done[len(done) - above :], *old[i1:i2], *rest[:below]])
            if wanted and text.count(wanted) == 1:
                break
            if above == len(done) and below == len(rest):
                break
            above, below = min(len(done), above + 1), min(len(rest), below + 1)
        ready = "".join([*done[len(done) - above :], *new[j1:j2], *rest[:below]])
        yield Hunk(wanted, ready, len(done) - above + 1)
        text = "".join([*new[:j2], *rest])


def numbered(text: str, line: int) -> str:
    whole, end = (text[:-1], "\n") if text.endswith("\n") else (text, "")
    return "\n".join(f"{number:6}|{each}" for number, each in enumerate(whole.split("\n"), line)) + end


def damaged(hunk: Hunk) -> tuple[str, str]:
    """As somebody retypes it who cares for words only: both texts are damaged in the same way."""
    mark = "\x01"
    lines = [f"{line.rstrip()}\n" for line in [*hunk.old.splitlines(), mark, *hunk.new.splitlines()]]
    text = textwrap.dedent("".join(line.replace("\t", "    ") for line in lines if line.strip() != mark))
    count = len(hunk.old.splitlines())
    flat = text.splitlines(keepends=True)
    old, new = "".join(flat[:count]), "".join(flat[count:])
    return old, new if hunk.new.endswith("\n") else new.removesuffix("\n")


def calls(change: Changed, manner: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Tool and input, one after the other."""
    before, after = change.before.decode(), change.after.decode()
    if manner == "write":
        yield "write", {"file_path": "file", "content": after}
        return
    found = list(hunks(before, after, 0 if manner == "edit" else CONTEXT))
    edits = []
    for hunk in found:
        old, new = hunk.old, hunk.new
        if manner == "numbered":
            old, new = numbered(old, hunk.line), numbered(new, hunk.line) if new else ""
        elif manner == "damaged":
            old, new = damaged(hunk)
        edits.append({"old_string": old, "new_string": new})
    if manner == "edit":
        for edit in edits:
            yield "edit", {"file_path": "file", **edit}
    else:
        yield "multiedit", {"file_path": "file", "edits": edits}


async def replay(change: Changed, manner: str, root: Path) -> Outcome:
    hands = Hands(root)
    path = hands.write("file", change.before)
    await hands.use("view", file_path="file")
    notes = ""
    for tool, input in calls(change, manner):
        result = await hands.send(tool, json.dumps(input))
        if result.status != "completed" or result.metadata.get("edits_failed"):
            return Outcome(change, manner, "refused", result.text)
        notes += result.text if "white space" in result.text or "line numbers" in result.text else ""
    if path.read_bytes() != change.after:
        return Outcome(change, manner, "wrong", notes)
    return Outcome(change, manner, "fallback" if notes else "exact", notes)


async def replay_all(changes: Sequence[Changed], manners: Sequence[str] = MANNERS) -> list[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        return [await replay(change, manner, root) for manner in manners for change in changes]


def report(outcomes: Sequence[Outcome]) -> str:
    lines = []
    for manner in dict.fromkeys(outcome.manner for outcome in outcomes):
        counts = Counter(outcome.how for outcome in outcomes if outcome.manner == manner)
        shares = ", ".join(f"{how} {counts[how]}" for how in ("exact", "fallback", "refused", "wrong"))
        lines.append(f"{manner:10} {sum(counts.values())} changes: {shares}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.replay", description=__doc__)
    parser.add_argument("repository", nargs="?", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--trees", nargs=2, type=Path, metavar=("OLD", "NEW"))
    parser.add_argument("--show", type=int, default=10, help="how many of those that went wrong to show")
    options = parser.parse_args()
    if options.trees:
        old, new = options.trees
        changes = from_trees(old, new, options.changes)
    else:
        changes = from_git(options.repository, options.changes)
    outcomes = asyncio.run(replay_all(changes))
    print(report(outcomes))
    for outcome in [each for each in outcomes if each.how in ("wrong", "refused")][: options.show]:
        print(f"\n{outcome.manner} {outcome.how}: {outcome.changed.name}\n{outcome.said}")
    return any(outcome.how == "wrong" and outcome.manner != "damaged" for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
