"""What every `Languages` does: the fake, and real processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quell.lsp import LanguageServers
from quell.testing.languages import LANGUAGES, FakeLanguages, LanguagesCheck
from quell.workspace.programs import LocalPrograms
from tests.lsp.test_servers import spoken


@pytest.mark.parametrize("check", LANGUAGES, ids=lambda check: check.__name__)
async def test_the_fake(check: LanguagesCheck, tmp_path: Path) -> None:
    await check(FakeLanguages(), FakeLanguages(deaf=True), str(tmp_path), {})


@pytest.mark.parametrize("check", LANGUAGES, ids=lambda check: check.__name__)
async def test_processes(check: LanguagesCheck, tmp_path: Path) -> None:
    works = LanguageServers(lambda root: [spoken("good")], LocalPrograms())
    deaf = LanguageServers(lambda root: [spoken("deaf")], LocalPrograms())
    try:
        await check(works, deaf, str(tmp_path), dict(os.environ))
    finally:
        await works.close()
        await deaf.close()
