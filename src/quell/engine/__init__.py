"""The shell around the pure core: one actor per session, which records decisions and performs what is due."""

from quell.engine.bus import Event
from quell.engine.engine import Engine
from quell.engine.options import Options, Ports

__all__ = ["Engine", "Event", "Options", "Ports"]
