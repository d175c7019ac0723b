"""Everything that leaves the process as JSON: facts, bodies of the HTTP API, event streams."""
