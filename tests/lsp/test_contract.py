"""What every `Languages` does: the fake, and real processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quell.lsp import LanguageServers
from quell.testing.languages import LANGUAGES, FakeLanguages, Given, LanguagesCheck
from quell.workspace.programs import LocalPrograms
from tests.lsp.test_servers import spoken


@pytest.mark.parametrize("check", LANGUAGES, ids=lambda check: check.__name__)
async def test_the_fake(check: LanguagesCheck, tmp_path: Path) -> None:
    await check(Given(FakeLanguages(), FakeLanguages(deaf=True), FakeLanguages(linter=True), str(tmp_path), {}))


@pytest.mark.parametrize("check", LANGUAGES, ids=lambda check: check.__name__)
async def test_processes(check: LanguagesCheck, tmp_path: Path) -> None:
    def one(behaviour: str) -> LanguageServers:
        return LanguageServers(lambda root: [spoken(behaviour)], LocalPrograms())

    works, deaf, linter = one("good"), one("deaf"), one("linter")
    try:
        await check(Given(works, deaf, linter, str(tmp_path), dict(os.environ)))
    finally:
        for each in (works, deaf, linter):
            await each.close()
