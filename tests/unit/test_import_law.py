"""Imports go downwards only, and what is optional is not imported until it is used.

The layers from the bottom: values, concurrency, rim, messages, composition, applications, testing,
commands.
Within a layer modules may import one another, as long as that makes no cycle.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "hesper"

VALUES, CONCURRENCY, RIM, MESSAGES, COMPOSITION, APPLICATIONS, TESTING, COMMANDS = range(8)

LAYERS = {
    VALUES: "status types exceptions convertors cookies conditional datastructures config endings"
    " policies _accept _events _json _grammar _headers _host _messages _multidict _paths _ranges _url"
    " _utils",
    CONCURRENCY: "_concurrency concurrency supervision",
    RIM: "_asgi",
    MESSAGES: "background _connection _response _file_body _file_response responses requests websockets"
    " formparsers _form_rules _spools _urlencoded sse",
    APPLICATIONS: "applications",
    TESTING: "testing testclient _testclient demo",
    COMMANDS: "cli _cli",
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names.split()}
"""Everything else is composition."""

EXTRAS = {
    "backports",
    "brotli",
    "click",
    "httpx",
    "httpx2",
    "httptools",
    "itsdangerous",
    "jinja2",
    "msgspec",
    "multipart",
    "opentelemetry",
    "python_multipart",
    "rich",
    "trio",
    "uvicorn",
    "uvloop",
    "yaml",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int:
    return LAYER.get(module.split(".")[0], COMPOSITION)


MODULES = {name_of(path): path for path in SOURCE.rglob("*.py") if path.parent.name != "demo"}
del MODULES[""]  # the package gathers names from everywhere, and imports them when asked


def imports(tree: ast.AST, *, at_top: bool) -> Iterator[str]:
    """What a module imports; ``at_top``: only what runs when it is imported.

    What is only there for type checkers never runs, and so is no import.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif at_top and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield from imports(other, at_top=at_top)
        else:
            yield from imports(node, at_top=at_top)


def ours(names: Iterator[str]) -> set[str]:
    within = {name.removeprefix("hesper.") for name in names if name.startswith("hesper.")}
    return within & MODULES.keys()


def parsed(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text("utf-8"))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_nothing_from_above(name: str) -> None:
    above = {
        other
        for other in ours(imports(parsed(name), at_top=False))
        if layer_of(other) > layer_of(name)
    }
    assert not above


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: ours(imports(parsed(name), at_top=True)) - {name} for name in MODULES}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names it
    assert set(order) == set(MODULES)


def test_values_are_imported_with_the_standard_library_alone() -> None:
    for name in MODULES:
        if layer_of(name) == VALUES:
            roots = {found.split(".")[0] for found in imports(parsed(name), at_top=True)}
            assert roots <= {*sys.stdlib_module_names, "hesper"}, name


def test_extras_are_imported_in_functions_or_in_leaves() -> None:
    graph = {name: ours(imports(parsed(name), at_top=True)) for name in MODULES}
    imported = set().union(*(found - {name} for name, found in graph.items()))
    for name in MODULES:
        roots = {found.split(".")[0] for found in imports(parsed(name), at_top=True)}
        if roots & EXTRAS and layer_of(name) < COMMANDS:  # `cli` imports those when it is called
            assert name not in imported, f"{name} needs {roots & EXTRAS} and is imported"


def test_an_application_is_imported_without_the_extras() -> None:
    code = (
        "import sys, hesper, hesper.applications, hesper.middleware.base\n"
        f"print(*sorted({EXTRAS!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
