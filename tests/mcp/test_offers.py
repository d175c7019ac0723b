"""What a model is told of a server's tools."""

from __future__ import annotations

import base64
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quell.core.messages import LONGEST_RESULT
from quell.mcp.answers import Block, Called, Contents, Read, RemoteTool
from quell.mcp.offers import LONGEST_NAME, SCHEMA, input_schema, offers, unknown
from quell.mcp.options import ServerOptions
from quell.mcp.results import Progress, of_call, of_contents
from tests.mcp.kit import PIXEL
from tests.tools.conftest import Hands

OPTIONS = ServerOptions(name="s")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "items", "required", "anyOf", "$ref", "enum", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=30)
@given(st.lists(st.text(min_size=1, max_size=80), max_size=6))
def test_names_are_what_providers_take_each_its_own_whatever_the_order(names: list[str]) -> None:
    tools = [RemoteTool(name, "", {}) for name in names]
    found = offers(OPTIONS, tools)
    assert {offer.tool for offer in found.values()} == {*names}
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) and len(name) <= LONGEST_NAME for name in found)
    assert list(found.items()) == list(offers(OPTIONS, tools[::-1]).items())


def test_who_has_a_fitting_name_keeps_it_whoever_comes() -> None:
    alone = offers(OPTIONS, [RemoteTool("a_b")])
    both = offers(OPTIONS, [RemoteTool("a.b"), RemoteTool("a_b")])
    assert both["mcp_s_a_b"] == alone["mcp_s_a_b"]
    assert both["mcp_s_a_b"].tool == "a_b"


def test_wanted_are_those_that_are_enabled_and_not_disabled() -> None:
    options = ServerOptions(name="s", enabled_tools=("a", "b"), disabled_tools=("b",))
    assert [*offers(options, [RemoteTool(name) for name in "abc"])] == ["mcp_s_a"]


def test_names_in_the_settings_that_are_no_tools_are_told() -> None:
    there = [RemoteTool("add"), RemoteTool("rm")]
    assert unknown(ServerOptions(name="s", enabled_tools=("add",), disabled_tools=("rm",)), there) == ""
    assert (
        unknown(ServerOptions(name="s", enabled_tools=("ad", "add"), disabled_tools=("r.m",)), there)
        == "`enabled_tools` names `ad`, which it does not have. `disabled_tools` names `r.m`, which it does not have."
        " Its tools are `add`, `rm`."
    )
    assert unknown(ServerOptions(name="s", enabled_tools=("ad",)), []).endswith("Its tools are none.")


@settings(max_examples=50)
@given(JSON)
def test_a_schema_is_one_of_an_object_whatever_was_sent(sent: object) -> None:
    schema = input_schema(sent)
    assert schema["type"] == "object"
    assert isinstance(schema["properties"], dict)
    assert not {"anyOf", "oneOf", "allOf", "enum"} & schema.keys()
    assert input_schema(schema) == schema


def test_a_schema_that_is_one_stays_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x"]},
            "b": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/c"}]},
        },
        "required": ["a"],
        "$defs": {"c": {"type": "array", "items": {"type": "string"}}},
        "additionalProperties": False,
    }
    assert input_schema(schema) == schema
    assert input_schema({"properties": {"a": {"description": "x" * SCHEMA}}}) == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("texts", "structured", "said"),
    [
        (["3"], {"result": 3}, "3"),
        (["hello"], {"result": "hello"}, "hello"),
        (["a", "b"], {"result": ["a", "b"]}, "a\nb"),
        (['{"x": 1}'], {"x": 1}, '{"x": 1}'),
        ([], {"x": 1}, '{\n "x": 1\n}'),
        (["found one"], {"x": 1}, 'found one\n{\n "x": 1\n}'),
        ([], None, "no output"),
    ],
)
async def test_structure_is_told_once(hands: Hands, texts: list[str], structured: object, said: str) -> None:
    called = Called(content=tuple(Block("text", text=text) for text in texts), structured=structured)
    assert (await of_call(called, "s", "t", hands.context())).text == said


async def test_what_cannot_be_shown_is_named(hands: Hands, tmp_path_factory: pytest.TempPathFactory) -> None:
    hands.keep(tmp_path_factory.mktemp("kept"))
    hands.vision = True
    pixel = base64.b64encode(PIXEL).decode()
    blocks = (
        Block("image", data=pixel, mime_type="image/png"),
        Block("image", data="####", mime_type="image/png"),
        Block("audio", data="AAAA", mime_type="audio/wav"),
        Block("resource_link", uri="memo://a", name="memo"),
        Block("resource", resource=Contents("memo://b", text="a memo")),
        Block("resource", resource=Contents("memo://c", blob=pixel)),
        Block("hologram"),
    )
    result = await of_call(Called(content=blocks, is_error=True), "s", "t", hands.context())
    assert result.status == "failed"
    assert len(result.images) == 2
    assert (hands.kept / "images" / result.images[0].sha256).read_bytes() == PIXEL
    assert result.text.splitlines() == [
        "[image/png, 1×1 pixels]",
        "[image/png, 0 bytes, which cannot be shown]",
        "[audio of type audio/wav, which cannot be shown]",
        "[resource memo://a: memo]",
        "a memo",
        "[image/png, 1×1 pixels]",
        "[hologram of type unknown, which cannot be shown]",
    ]


async def test_what_is_long_is_cut_and_kept(hands: Hands, tmp_path_factory: pytest.TempPathFactory) -> None:
    hands.keep(tmp_path_factory.mktemp("kept"))
    text = "\0" + "x" * (2 * LONGEST_RESULT)
    result = await of_contents(Read((Contents("u", text=text),)), hands.context())
    assert len(result.text) < LONGEST_RESULT + 500
    assert "\0" not in result.text
    path = result.text.partition("all of it is in ")[2].partition(", for")[0]
    with open(path, encoding="utf-8") as kept:
        assert len(kept.read()) == len(text)


async def test_progress_does_not_flood() -> None:
    said: list[str] = []
    progress = Progress(said.append)
    for number in range(1000):
        progress.take(number, 1000, "one\nline " + "x" * 1000)
    assert len(said) < 50
    assert said[0].startswith("0/1000 one line xxx")
    assert len(said[0]) < 400
    assert json.dumps(said[0]).count("\\n") == 1
