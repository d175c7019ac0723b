"""Language models behind the ports `LanguageModel` and `Models` of the core: providers over HTTP, and scripted ones.

`ProviderModels` finds them; `ProviderOptions` and `ModelOptions` are what can be set; `delay` is when to ask again.
Importing this imports nothing heavy: see `loading`.
"""

from quell.llm.models import ModelRow, ProviderModels
from quell.llm.options import Effort, ModelOptions, ProviderOptions
from quell.llm.retry import RetryOptions, delay

__all__ = ["Effort", "ModelOptions", "ModelRow", "ProviderModels", "ProviderOptions", "RetryOptions", "delay"]
