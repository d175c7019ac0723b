"""The contract «sees only what it names»."""

from grimp import ImportGraph

from scripts.layers import OnlyContract


def strays(imports: list[tuple[str, str]], *, allowed: list[str], of: str = "") -> list[tuple[str, str]]:
    graph = ImportGraph()
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported, line_number=1, line_contents="")
    options = {"name": "x", "type": "only", "source": "quell.core", "allowed": allowed, "of": of}
    check = OnlyContract(name="x", session_options={}, contract_options=options).check(graph, verbose=False)
    found = [(importer, imported) for importer, imported, _ in check.metadata["strays"]]
    assert check.kept == (not found)
    return found


def test_what_is_listed_is_allowed_and_so_are_the_package_itself_and_the_version() -> None:
    imports = [("quell.core.a", "quell.core.b"), ("quell.core.b", "msgspec"), ("quell.core", "quell")]
    assert strays(imports, allowed=["msgspec"]) == []


def test_what_is_not_listed_is_refused_also_deep_inside() -> None:
    imports = [("quell.core.a.b", "asyncio"), ("quell.core", "quell.core2"), ("quell.engine", "asyncio")]
    assert strays(imports, allowed=["msgspec"]) == [("quell.core", "quell.core2"), ("quell.core.a.b", "asyncio")]


def test_a_contract_of_one_package_leaves_the_rest_of_the_world_alone() -> None:
    imports = [("quell.core", "asyncio"), ("quell.core", "quell.store.sqlite"), ("quell.core", "quell.wire.api")]
    assert strays(imports, allowed=["quell.wire"], of="quell") == [("quell.core", "quell.store.sqlite")]


def test_a_package_that_does_not_exist_yet_breaks_nothing() -> None:
    assert strays([("quell.engine", "asyncio")], allowed=[]) == []
