"""What is beyond this machine: implements the port `Web`.

`addresses` understands URLs and judges where they lead, `guarded` asks, `packing` decompresses, `search` knows the search engines. What
becomes of an answer is the business of `tools`.
"""

from quell.web.guarded import GuardedWeb
from quell.web.options import Options

__all__ = ["GuardedWeb", "Options"]
