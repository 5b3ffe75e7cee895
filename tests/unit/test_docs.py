"""The documentation is true where a machine can tell.

Every sentence of the contract names a test that exists, every link leads somewhere, every block of
Python that names an example is in that example, and every other one can be parsed.
"""

import ast
import functools
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONTRACT = ROOT / "docs" / "explanation" / "endings.md"

FENCE = re.compile(r"^```(\S*)(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
TITLE = re.compile(r'title="([^"]+)"')
NAMED = re.compile(r"(?:examples|docs|tests|src|benchmarks)/[\w/.-]*\w\.(?:py|md|html)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def without_code(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


@functools.cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


@functools.cache
def anchors(page: Path) -> set[str]:
    """The fragments that the headings of a page make, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower().strip()).replace(" ", "-") for heading in headings
    }


def relative_links(page: Path) -> Iterator[tuple[Path, str]]:
    for link in LINK.findall(without_code(page)):
        if not re.match(r"[a-z]+:", link):
            path, _, fragment = link.partition("#")
            yield ((page.parent / path).resolve() if path else page), fragment


@pages
def test_every_relative_link_leads_somewhere_within_the_repository(page: Path) -> None:
    for target, fragment in relative_links(page):
        assert target.is_relative_to(ROOT), target
        assert target.exists(), target
        if fragment:
            known = functions(target) if target.suffix == ".py" else anchors(target)
            assert fragment in known, f"{target}#{fragment}"


@pages
def test_every_file_that_is_named_exists(page: Path) -> None:
    for name in NAMED.findall(page.read_text("utf-8")):
        assert (ROOT / name).exists(), name


@pages
def test_blocks_of_an_example_are_lines_of_it_and_others_are_python(page: Path) -> None:
    for language, info, code in FENCE.findall(page.read_text("utf-8")):
        if language != "python":
            continue
        title = TITLE.search(info)
        if title is None:
            compile(code, str(page), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        else:
            assert f"\n{code}" in f"\n{(ROOT / title[1]).read_text('utf-8')}", title[1]


@pages
def test_prose_comes_before_code(page: Path) -> None:
    for section in re.split(r"^#+ .*$", page.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        assert not section.lstrip().startswith("```"), section[:80]


def sections() -> dict[str, str]:
    """The text of each promise, by its number."""
    parts = re.split(r"^### (E\d+)\b.*$", CONTRACT.read_text("utf-8"), flags=re.MULTILINE)
    numbered = zip(parts[1::2], parts[2::2], strict=True)
    return {number: text.split("\n## ")[0] for number, text in numbered}


def policies() -> str:
    """The text of what is promised of the policies."""
    return CONTRACT.read_text("utf-8").split("\n## The policies\n")[1].split("\n## ")[0]


def sentences(text: str) -> list[str]:
    """The items of a list, each with its continued lines."""
    return re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE)


def test_the_contract_has_every_promise() -> None:
    assert list(sections()) == [f"E{number}" for number in range(1, 20)]


@pytest.mark.parametrize("part", [*(f"E{number}" for number in range(1, 20)), "policies"])
def test_every_sentence_of_the_contract_names_its_tests(part: str) -> None:
    promised = sentences(policies() if part == "policies" else sections()[part])
    assert promised
    for sentence in promised:
        links = [link for link in LINK.findall(sentence) if "/tests/" in link]
        assert links, sentence
        for link in links:
            path, _, name = link.partition("#")
            assert name.startswith("test_"), link
            assert name in functions((CONTRACT.parent / path).resolve()), link


def test_every_example_is_named_in_the_documentation() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    for path in (ROOT / "examples").glob("[!_]*.py"):
        assert f"examples/{path.name}" in text, path.name


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {ROOT / "README.md"}
    todo = list(reached)
    while todo:
        for target, _ in relative_links(todo.pop()):
            if target.suffix == ".md" and target not in reached:
                reached.add(target)
                todo.append(target)
    assert reached >= set(PAGES)


def test_the_reference_has_the_names_and_parameters_of_the_code() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    for page in generator["PAGES"]:
        text = (ROOT / "docs" / "reference" / f"{page}.md").read_text("utf-8")
        for signature, _, members in generator["entries"](page):
            for shown in [signature, *(member for member, _ in members)]:
                assert f"`{shown}`" in text, f"{page}.md: {shown}: run python docs/generate.py"
