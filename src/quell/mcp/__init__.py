"""Tool servers over MCP: started, talked to, and offered to the model as tools.

`servers` keeps them, `server` is the life of one, `toolset` what the model sees. `connection` and `stdio` speak the protocol, by its
official SDK, which takes a second to import: nothing imports these two before a server is to be started, and then in a thread.
"""

from quell.mcp.options import ServerOptions
from quell.mcp.server import Surroundings
from quell.mcp.servers import McpServers

__all__ = ["McpServers", "ServerOptions", "Surroundings"]
