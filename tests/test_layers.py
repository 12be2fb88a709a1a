"""The packages that a stage imports are the dependencies that DVC watches for it."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOUNDATION = ("whether.config", "whether.records", "whether.errors", "whether.entry", "whether.printing")
"""Formats and settings, under every stage: an edit there shows in what a stage writes or reads, or in nothing."""
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def file_of(module: str) -> Path | None:
    path = ROOT / "src" / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def imported(file: Path) -> set[str]:
    """Modules of whether that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("whether"):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("whether")}
    return {module for module in found - {"whether"} if file_of(module) and not module.startswith(FOUNDATION)}


def reached(file: Path) -> set[Path]:
    """Files of whether that run when a file is imported."""
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        for module in imported(waiting.pop()):
            target = file_of(module)
            if target and target not in seen:
                seen.add(target)
                waiting.append(target)
    return {path.relative_to(ROOT) for path in seen}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_it_runs(stage: str) -> None:
    watched = [Path(dep) for dep in STAGES[stage]["deps"]]
    command = ROOT / STAGES[stage]["cmd"].split()[2].replace(".", "/")
    assert command.with_suffix(".py").relative_to(ROOT) in watched
    for file in reached(command.with_suffix(".py")):
        assert any(file.is_relative_to(dep) for dep in watched), f"{stage} runs {file}, which is not among its deps"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_thin(stage: str) -> None:
    command = ROOT / STAGES[stage]["cmd"].split()[2].replace(".", "/")
    code = [line for line in command.with_suffix(".py").read_text().splitlines() if line.strip()]
    assert len(code) <= 40 or stage == "compose"
