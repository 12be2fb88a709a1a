"""Links, anchors and names in the documents lead somewhere, and every document is in the site's navigation."""

import ast
import re
import runpy
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "CHANGELOG.md")),
    *(ROOT / name for name in ("server/README.md", "schedules/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
YAML_FILES = sorted(
    file
    for folder in (".", "conf", "schedules", "server", "src")
    for file in (ROOT / folder).glob("*.y*ml" if folder == "." else "**/*.y*ml")
)
FENCE = re.compile(r"^(```+).*?^\1 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
TAGS = {
    tag
    for file in (ROOT / "src/whether/tracking").glob("*.py")
    for tag in re.findall(r'"(whether\.\w+)"', file.read_text())
}
"""Names in MLflow, which look like those of modules."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ +(.*?) *$", FENCE.sub("", page.read_text()), re.MULTILINE)
    seen: Counter[str] = Counter()
    found = set()
    for heading in headings:
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@cache
def names_in(module: str) -> frozenset[str] | None:
    """What a module defines or imports at its top, read and not run: it may need packages that are not installed."""
    path = ROOT / "src" / module.replace(".", "/")
    file = next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)
    if file is None:
        return None
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something that a module defines."""
    if names_in(name) is not None:
        return True
    module, _, last = name.rpartition(".")
    return last in (names_in(module) or ())


def unknown_names(text: str) -> list[str]:
    """Names of the project in a text that the code does not have."""
    named = re.findall(r"(?<![\w/.-])whether(?:\.[A-Za-z_]\w*)+", text)
    for module, imported in re.findall(r"^ *from (whether[\w.]*) import (\([^)]*\)|.+)$", text, re.MULTILINE):
        names = re.sub(r"#.*", "", imported).strip("() \n").split(",")
        named += [f"{module}.{name.split(' as ')[0].strip()}" for name in names if name.strip()]
    return sorted({name for name in named if name not in TAGS and not resolves(name)})


def test_links_and_anchors_lead_somewhere() -> None:
    broken = {relative(page): broken_links(page) for page in PAGES}
    assert {page: links for page, links in broken.items() if links} == {}


def test_names_of_the_code_exist() -> None:
    files = [file for file in (*PAGES, *YAML_FILES) if file.name != "CHANGELOG.md"]  # where old names stay
    unknown = {relative(file): unknown_names(file.read_text()) for file in files}
    assert {file: names for file, names in unknown.items() if names} == {}


def test_the_checks_see_what_is_broken(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` (c)\n[1](#a-b-c) [2](#a) [3](none.md) [4](page.md#d)\n```\n# d\n[5](none)\n```\n")
    assert broken_links(page) == ["#a", "none.md", "page.md#d"]
    text = (
        "`whether.kind`, `whether.records.Task`, `whether.none`, whether.records.none\n"
        "from whether.records import Task, Never\n"
    )
    assert unknown_names(text) == ["whether.none", "whether.records.Never", "whether.records.none"]


def test_every_document_is_in_the_navigation_once() -> None:
    navigation = runpy.run_path(str(ROOT / "docs/conf.py"))["NAVIGATION"]
    listed = Counter(f"{page}.md" for pages in navigation.values() for page in pages)
    assert listed == Counter(relative(page) for page in PAGES)


def test_the_paths_in_the_guide_for_agents_exist() -> None:
    text = FENCE.sub("", (ROOT / "AGENTS.md").read_text())
    paths = re.findall(r"`((?:src|tests|conf|docs|examples|pipelines)/[\w./]*)`", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert len(text.splitlines()) <= 80
