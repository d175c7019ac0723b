"""Tests whose time is virtual: whatever they wait for comes at once, and a machine that stands still for a while changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from random import Random
from typing import Any

from quell.testing.simulation.loop import VirtualLoop

Story = Callable[..., Coroutine[Any, Any, None]]


def in_virtual_time(story: Story) -> Callable[..., None]:
    @wraps(story)
    def test(**fixtures: Any) -> None:
        loop = VirtualLoop(Random(0), 0.0)  # type: ignore[abstract]  # what it lacks raises NotImplementedError
        try:
            loop.run(story(**fixtures))
        finally:
            loop.close()

    return test
