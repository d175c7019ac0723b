"""What the model is told besides the conversation: the system prompt, the project's instructions; and when to summarise."""

from quell.context.budget import Thresholds, is_crowded
from quell.context.build import SystemPrompts, prompt

__all__ = ["SystemPrompts", "Thresholds", "is_crowded", "prompt"]
