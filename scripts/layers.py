"""A contract for import-linter: a package sees only what it names.

The built-in kinds forbid what they list, and fail while a listed package does not exist yet. This one is the other way
round: what is not listed is forbidden, so a new neighbour, or another corner of the standard library, is refused until
somebody allows it in `pyproject.toml`.
"""

from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class OnlyContract(Contract):
    """`source` and what is in it import directly nothing but `allowed` — of the package `of`, or at all."""

    type_name = "only"

    # Fields here, plain values in an instance.
    source: Any = fields.StringField()
    allowed: Any = fields.SetField(subfield=fields.StringField())
    of: Any = fields.StringField(default="")

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find the imports that leave the fence."""
        importers = sorted(module for module in graph.modules if _inside(module, self.source))
        strays = [
            (importer, imported, _lines(graph, importer, imported))
            for importer in importers
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if not self._may_see(imported)
        ]
        return ContractCheck(kept=not strays, metadata={"strays": strays})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Say where each of them is."""
        for importer, imported, lines in check.metadata["strays"]:
            output.print_error(f"{importer} imports {imported} (l. {lines})", bold=False)

    def _may_see(self, imported: str) -> bool:
        if self.of and not _inside(imported, self.of):
            return True
        root = self.source.partition(".")[0]  # holds the version, nothing else
        return imported == root or any(_inside(imported, fence) for fence in {*self.allowed, self.source})


def _inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def _lines(graph: ImportGraph, importer: str, imported: str) -> str:
    details = graph.get_import_details(importer=importer, imported=imported)
    return ", ".join(str(detail["line_number"]) for detail in details)
