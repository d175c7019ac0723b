"""What must hold between the files of this repository."""

import re
import tomllib
from pathlib import Path

import quell

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_the_version_is_the_same_in_both_places() -> None:
    assert quell.__version__ == PROJECT["project"]["version"]


def test_the_lock_has_hashes_and_no_addresses() -> None:
    pins = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert pins
    assert [pin.splitlines()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert "://" not in LOCK
    assert [line for line in LOCK.splitlines() if re.match(r"-|.* @ ", line)] == []


def test_the_lock_pins_every_dependency_that_is_named() -> None:
    named = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    pinned = set(re.findall(r"^([a-z0-9-]+)==", LOCK, flags=re.MULTILINE))
    assert {re.split(r"[\[<>=;! ]", line)[0] for line in named} - pinned == set()


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(pages) > 10
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())]
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_what_the_way_of_a_prompt_names_is_there() -> None:
    text = (ROOT / "docs" / "reference" / "way-of-a-prompt.md").read_text(encoding="utf-8")
    named = re.findall(r"\[`[^`]+\.py`\]\(\.\./\.\./(src/[^)]+)\)\s+`(\w+)`", text)
    assert len(named) > 25
    missing = [
        f"{file}: {name}"
        for file, name in named
        if not re.search(rf"\b(def|class) {name}\b", (ROOT / file).read_text())
    ]
    assert missing == []
    values = set(re.findall(r"`([A-Z][a-z]\w+)`", text)) - {name for _, name in named}
    code = "".join(path.read_text() for path in (ROOT / "src" / "quell" / "core").glob("*.py"))
    assert [name for name in values if f"class {name}(" not in code] == []


def test_no_comment_sends_readers_to_a_page_that_they_do_not_have() -> None:
    """The contract is cited by its lines, which docs/reference/contract-tests.md lists."""
    folders = ("src", "benchmarks", "scripts")
    code = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert [
        path.name for path in code if re.search(r"\b(contract|design|features|anchors)\.md\b", path.read_text())
    ] == []
