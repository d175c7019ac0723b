"""Language servers that are known: what `[lsp.NAME]` need not say of them. Looked at only where one is configured, or looked for."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from quell.config.settings import LanguageServerSettings as Known

_PYTHON = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "pyrightconfig.json", ".git")
_SCRIPT = ("package.json", "tsconfig.json", "jsconfig.json")

CATALOGUE: Mapping[str, Known] = {
    "basedpyright": Known(
        command="basedpyright-langserver", args=("--stdio",), filetypes=("py", "pyi"), root_markers=_PYTHON
    ),
    "bash-language-server": Known(command="bash-language-server", args=("start",), filetypes=("sh", "bash")),
    "clangd": Known(
        command="clangd",
        filetypes=("c", "h", "cc", "cpp", "cxx", "hpp", "m", "mm"),
        root_markers=("compile_commands.json", "compile_flags.txt", ".clangd", "CMakeLists.txt", "Makefile"),
    ),
    "gopls": Known(command="gopls", filetypes=("go", "mod"), root_markers=("go.work", "go.mod")),
    "jedi": Known(command="jedi-language-server", filetypes=("py", "pyi"), root_markers=_PYTHON),
    "lua-language-server": Known(command="lua-language-server", filetypes=("lua",)),
    "pylsp": Known(command="pylsp", filetypes=("py",), root_markers=_PYTHON),
    "pyright": Known(command="pyright-langserver", args=("--stdio",), filetypes=("py", "pyi"), root_markers=_PYTHON),
    "ruby-lsp": Known(command="ruby-lsp", filetypes=("rb",), root_markers=("Gemfile",)),
    "ruff": Known(
        command="ruff",
        args=("server",),
        filetypes=("py", "pyi"),
        root_markers=("pyproject.toml", "ruff.toml", ".ruff.toml"),
    ),
    "rust-analyzer": Known(command="rust-analyzer", filetypes=("rs",), root_markers=("Cargo.toml",)),
    "typescript-language-server": Known(
        command="typescript-language-server",
        args=("--stdio",),
        filetypes=("ts", "tsx", "mts", "cts", "js", "jsx", "mjs", "cjs"),
        root_markers=_SCRIPT,
    ),
    "zls": Known(command="zls", filetypes=("zig",), root_markers=("build.zig",)),
}


def completed(name: str, own: Known) -> Known:
    """With what is known of one of that name where the user has said nothing."""
    known = CATALOGUE.get(name, Known())
    return replace(
        own,
        command=own.command or known.command,
        args=known.args if own.args is None and own.command is None else own.args or (),
        filetypes=own.filetypes or known.filetypes,
        root_markers=known.root_markers if own.root_markers is None else own.root_markers,
    )
