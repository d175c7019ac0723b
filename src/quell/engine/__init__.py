"""The shell around the pure core: one actor per session, which records decisions and performs what is due."""

from quell.engine.bus import Deleted, Delta, DraftPart, Event, Reset
from quell.engine.engine import Engine
from quell.engine.options import Options, Ports

__all__ = ["Deleted", "Delta", "DraftPart", "Engine", "Event", "Options", "Ports", "Reset"]
