"""Quell, a coding agent: a server that owns every run, and front ends that come and go."""

__version__ = "0.1.0"
