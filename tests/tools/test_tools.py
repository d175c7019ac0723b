"""The toolset: what a model is told about the tools, and what it is told when it calls them wrongly."""

import json
from pathlib import Path

import pytest

from quell.core.messages import ToolCall, ToolResult
from quell.testing.web import FakeWeb
from quell.tools import Options, Tools
from quell.tools.reference import reference
from quell.tools.table import TOOLS
from tests.tools.conftest import Hands


def test_each_tool_has_a_flat_schema_and_a_description() -> None:
    for spec in Tools().specs():
        text = json.dumps(spec.schema)
        assert "$ref" not in text
        assert "$defs" not in text
        assert spec.schema["additionalProperties"] is False
        assert spec.schema["type"] == "object"
        assert all(field["description"] for field in spec.schema["properties"].values())
        assert 50 < len(spec.description) < 1500


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "tools.md"
    assert page.read_text() == reference(), "run: python -m quell.tools.reference > docs/reference/tools.md"


EXAMPLES: dict[str, dict[str, object]] = {
    "agent": {"prompt": "x"},
    "agentic_fetch": {"prompt": "x", "url": "https://a.org"},
    "bash": {"command": "ls"},
    "download": {"url": "https://a.org", "file_path": "x"},
    "lsp_definition": {"symbol": "x"},
    "lsp_diagnostics": {},
    "lsp_references": {"symbol": "x"},
    "lsp_restart": {},
    "lsp_symbols": {"file_path": "x"},
    "edit": {"file_path": "x", "old_string": "", "new_string": "y"},
    "fetch": {"url": "https://a.org"},
    "glob": {"pattern": "*"},
    "grep": {"pattern": "x"},
    "job_kill": {"shell_id": "x"},
    "job_output": {},
    "ls": {},
    "multiedit": {"file_path": "x", "edits": [{"old_string": "", "new_string": "y"}]},
    "question": {"questions": [{"type": "yes_no", "question": "Is it?"}]},
    "quell_info": {},
    "quell_logs": {},
    "todos": {"todos": []},
    "view": {"file_path": "x"},
    "web_fetch": {"url": "https://a.org"},
    "web_search": {"query": "x"},
    "write": {"file_path": "x", "content": "y"},
}


@pytest.mark.parametrize("name", TOOLS)
def test_a_call_is_of_its_tools_name_and_kind(hands: Hands, name: str) -> None:
    """Rules speak of both."""
    web = FakeWeb({}, "brave")
    call = ToolCall(id="c", name=name, input=json.dumps(EXAMPLES[name]))
    prepared = Tools(options=Options(web=web)).prepare(call, hands.workspace)
    assert not isinstance(prepared, ToolResult), prepared.text
    assert (prepared.access.tool, prepared.access.kind, prepared.kind) == (name, TOOLS[name].kind, TOOLS[name].kind)


def test_a_selection_hides_the_rest(hands: Hands) -> None:
    tools = Tools({"view", "ls"})
    assert [spec.name for spec in tools.specs()] == ["ls", "view"]
    result = tools.prepare(ToolCall(id="c", name="bash", input='{"command": "ls"}'), hands.workspace)
    assert isinstance(result, ToolResult)
    assert "There is no tool `bash`" in result.text


def test_a_selection_is_made_once() -> None:
    """It is asked for on every turn."""
    tools = Tools()
    assert tools.only(["bash", "view"]) is tools.only(["bash", "view"])
    assert [spec.name for spec in tools.only(["view"]).specs()] == ["view"]


def test_an_unknown_name_in_a_selection_is_an_error() -> None:
    with pytest.raises(ValueError, match="no tool 'vieww'"):
        Tools({"vieww"})


async def test_an_unknown_tool_is_answered_with_the_ones_there_are(hands: Hands) -> None:
    result = await hands.use("veiw", file_path="x")
    assert result.status == "failed"
    assert "Did you mean `view`?" in result.text
    assert all(name in result.text for name in TOOLS)


@pytest.mark.parametrize(
    ("input", "told"),
    [
        ("{", "not valid JSON"),
        ("[1]", "has to be a JSON object"),
        ('"x"', "has to be a JSON object"),
        ("{}", "missing required field `file_path`"),
        ('{"file_path": 3}', "Expected `str`, got `int` at `file_path`"),
        ('{"file_path": "x", "lines": 3}', "unknown field `lines`"),
        ('{"file_path": "x", "offset": -1}', "`int` >= 0 at `offset`"),
        ('{"file_path": "x", "offset": "many"}', "`int`"),
        ('{"file_path": ""}', "path is empty"),
        ('{"file_path": "a\\u0000b"}', "cannot be a path"),
        ("[" * 100_000, "not"),
    ],
    ids=range(11),
)
async def test_wrong_input_is_told_what_to_send(hands: Hands, input: str, told: str) -> None:
    result = await hands.send("view", input)
    assert result.status == "failed"
    assert told in result.text
    assert "`view` was not run" in result.text


async def test_what_cannot_be_misunderstood_is_forgiven(hands: Hands) -> None:
    hands.write("a.txt", "one\ntwo\nthree\n")
    result = await hands.use("View", file_path="a.txt", offset="1", limit=None)
    assert "     2|two" in result.text
    edits = json.dumps([{"old_string": "one", "new_string": "1", "replace_all": None}])
    assert (await hands.use("multiedit", file_path="a.txt", edits=edits)).status == "completed"
    assert (
        await hands.use("multiedit", file_path="a.txt", edits={"old_string": "1", "new_string": "I"})
    ).status == "completed"
    assert (await hands.send("ls", "")).status == "completed"
    assert (await hands.use("ls", ignore="*.txt", depth="1")).status == "completed"


def test_access_names_real_paths_and_what_is_outside(hands: Hands) -> None:
    hands.write("src/a.py", "")
    (hands.root / "link").symlink_to("/etc")
    (hands.root / "inner").symlink_to("src")
    root = str(hands.root)
    inputs: dict[str, dict[str, object]] = {
        "view": {},
        "write": {"content": ""},
        "edit": {"old_string": "a", "new_string": "b"},
        "multiedit": {"edits": [{"old_string": "a", "new_string": "b"}]},
    }
    for tool, more in inputs.items():
        assert hands.access(tool, file_path="inner/a.py", **more).paths == (f"{root}/src/a.py",)
        assert hands.access(tool, file_path="inner/a.py", **more).outside == ()
        assert hands.access(tool, file_path="link/passwd", **more).outside == ("/etc/passwd",)
        assert hands.access(tool, file_path="src/../../x", **more).outside == (str(hands.root.parent / "x"),)
        assert hands.access(tool, file_path="/proc/self/root/etc/passwd", **more).outside == ("/etc/passwd",)
        assert hands.access(tool, file_path="~/.ssh/id_rsa", **more).outside
    for tool in ("grep", "glob"):
        assert hands.access(tool, pattern="x", path="link").outside == ("/etc",)
        assert hands.access(tool, pattern="x").outside == ()
    assert hands.access("ls", path="..").outside == (str(hands.root.parent),)
    assert hands.access("glob", pattern="/etc/*.conf").outside == ("/etc",)
    assert hands.access("glob", pattern="../*").outside == (str(hands.root.parent),)


def test_only_reading_tools_are_concurrent(hands: Hands) -> None:
    kinds = {}
    for name, input in {
        "view": {"file_path": "x"},
        "ls": {},
        "glob": {"pattern": "x"},
        "grep": {"pattern": "x"},
        "edit": {"file_path": "x", "old_string": "a", "new_string": "b"},
        "multiedit": {"file_path": "x", "edits": [{"old_string": "a", "new_string": "b"}]},
        "write": {"file_path": "x", "content": ""},
        "bash": {"command": "ls"},
    }.items():
        prepared = hands.tools.prepare(ToolCall(id="c", name=name, input=json.dumps(input)), hands.workspace)
        assert not isinstance(prepared, ToolResult)
        assert prepared.access.kind == prepared.kind
        kinds[name] = (prepared.kind, prepared.concurrent)
    assert kinds == {
        "view": ("read", True),
        "ls": ("read", True),
        "glob": ("search", True),
        "grep": ("search", True),
        "edit": ("edit", False),
        "multiedit": ("edit", False),
        "write": ("edit", False),
        "bash": ("execute", False),
    }
