"""What pydantic-ai makes of the tools' schemas for a provider: for every request, were it not for this, and it takes longer than all of ours."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.tools import ToolDefinition


class PreparedOnce(Model):
    """To be inherited from before a model of pydantic-ai: each tool is prepared when it is first seen, or has changed."""

    @cached_property
    def _prepared(self) -> dict[str, tuple[ToolDefinition, ToolDefinition]]:
        return {}

    def customize_request_parameters(self, model_request_parameters: ModelRequestParameters) -> ModelRequestParameters:
        given = model_request_parameters
        made = super().customize_request_parameters(replace(given, function_tools=[]))
        return replace(made, function_tools=[self._tool(tool, given) for tool in given.function_tools])

    def _tool(self, tool: ToolDefinition, given: ModelRequestParameters) -> ToolDefinition:
        found = self._prepared.get(tool.name)
        if found is None or found[0] != tool:
            [prepared] = super().customize_request_parameters(replace(given, function_tools=[tool])).function_tools
            found = self._prepared[tool.name] = (tool, prepared)
        return found[1]
