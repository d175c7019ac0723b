"""Homes for the command: one that the tests of a module share, with its server warm, and ones that a test has for itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.command import Home


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    home = Home()
    yield home
    home.close()


@pytest.fixture
def own_home() -> Iterator[Home]:
    home = Home()
    yield home
    home.close()
