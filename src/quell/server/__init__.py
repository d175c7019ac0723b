"""The HTTP server: routes over the engine, event streams, and the daemon that listens."""
