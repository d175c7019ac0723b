"""What the tests of models have in common: a question, somebody to ask it, and a server to answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from quell.core.errors import ModelFailed
from quell.core.messages import Message, ModelRequest, PartDelta, Reply, ToolSpec, UserMessage
from quell.core.ports import LanguageModel
from quell.llm import ProviderModels, ProviderOptions
from quell.llm.options import Dialect, ModelOptions
from quell.testing.providers import Answer, Provider, provider

KEY = "sk-very-secret"
NAMES: dict[Dialect, str] = {"openai": "gpt-5", "anthropic": "claude-opus-5"}
LOOK = ToolSpec("look", "Look at a file.", {"type": "object", "properties": {"path": {"type": "string"}}})


def request(
    *messages: Message,
    tools: tuple[ToolSpec, ...] = (LOOK,),
    vision: bool = True,
    images: Mapping[str, tuple[bytes, ...]] = {},
) -> ModelRequest:
    return ModelRequest(
        message="m1",
        system="Be brief.",
        messages=messages or (UserMessage(id="u1", text="Hello?"),),
        tools=tools,
        vision=vision,
        images=images,
    )


class Asked:
    """A model and what it has emitted."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.deltas: list[PartDelta] = []

    async def ask(self, *messages: Message) -> Reply:
        self.deltas.clear()
        return await self.model.sample(request(*messages), self.deltas.append)

    async def fail(self, *messages: Message) -> ModelFailed:
        try:
            reply = await self.ask(*messages)
        except ModelFailed as failed:
            return failed
        raise AssertionError(f"answered: {reply}")


@asynccontextmanager
async def asking(
    dialect: Dialect, *answers: Answer, options: ModelOptions = ModelOptions(), idle_timeout: float = 30.0
) -> AsyncIterator[tuple[Asked, Provider]]:
    """A server, and a model of it under the name of its dialect."""
    async with provider(dialect, *answers) as server:
        chosen = ProviderOptions(
            name=dialect,
            base_url=server.base_url,
            api_key=KEY,
            models={NAMES[dialect]: options},
            idle_timeout=idle_timeout,
        )
        models = ProviderModels([chosen])
        try:
            yield Asked(await models.open(f"{dialect}/{NAMES[dialect]}", {})), server
        finally:
            await models.close()
