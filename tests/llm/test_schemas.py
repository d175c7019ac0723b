"""Tools prepared once are what pydantic-ai would have made of them each time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from quell.llm import translate
from quell.llm.schemas import PreparedOnce
from quell.tools import Tools


class _OpenAI(PreparedOnce, OpenAIChatModel):
    pass


class _Anthropic(PreparedOnce, AnthropicModel):
    pass


MODELS: list[tuple[Model, Model]] = [
    (_OpenAI("m", provider=OpenAIProvider(api_key="k")), OpenAIChatModel("m", provider=OpenAIProvider(api_key="k"))),
    (
        _Anthropic("claude-sonnet-4-5", provider=AnthropicProvider(api_key="k")),
        AnthropicModel("claude-sonnet-4-5", provider=AnthropicProvider(api_key="k")),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), MODELS)
def test_it_is_the_same_and_made_once(ours: Model, theirs: Model) -> None:
    parameters = translate.parameters("You are being tested.", Tools().specs())
    expected = theirs.customize_request_parameters(parameters)
    first = ours.customize_request_parameters(parameters)
    again = ours.customize_request_parameters(translate.parameters("Something else.", Tools().specs()))
    assert first == expected
    assert all(one is other for one, other in zip(first.function_tools, again.function_tools, strict=True))
    assert again.instruction_parts != first.instruction_parts


@pytest.mark.parametrize(("ours", "theirs"), MODELS)
def test_a_tool_that_has_changed_is_another_one(ours: Model, theirs: Model) -> None:
    tool = translate.parameters("", Tools(["ls"]).specs()).function_tools[0]
    for changed in (
        tool,
        replace(tool, description="Other."),
        replace(tool, parameters_json_schema={"type": "object"}),
    ):
        parameters = ModelRequestParameters(function_tools=[changed])
        assert ours.customize_request_parameters(parameters) == theirs.customize_request_parameters(parameters)
