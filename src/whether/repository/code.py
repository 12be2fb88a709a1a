"""Which code DVC watches in a project that has none of its own: code.yaml, hashes of parts of the installed package.

In the repository a stage depends on folders of src/whether. In a project (`whether new`) it depends on the same parts
by their hashes in code.yaml, which the first stage, `code`, writes whenever DVC runs: `python -m
whether.repository.code`. So an upgrade of the package reruns the stages whose parts have changed, and no other.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from whether import __version__, entry
from whether.errors import ConfigError
from whether.records import sha256_file, sha256_json, write_text
from whether.repository.shipped import PACKAGE, shipped

CODE = Path("code.yaml")
FLOW = Path("dvc.yaml")
CODE_STAGE = "code"
"""The stage that writes `CODE`, which only the flow of a project has."""
STAGES = "pipelines"
"""Folder of the stages' own files."""
_DIGITS = 16
_SOURCES = ("src/whether/", f"{STAGES}/")
_HEADER = (
    f"# The flow of whether {__version__}. Settings come from conf/ through params.yaml; `dvc dag` draws it.\n"
    "# Code is the installed package's: the stage `code` writes hashes of its parts, which the others watch.\n"
)
_ADVICE = "`whether upgrade` brings the newer flow; where it writes dvc.yaml.new, take over what you need of it"

logger = logging.getLogger(__name__)


def main(_: list[str]) -> None:
    """Write code.yaml for the project in the working folder."""
    write_code(Path())
    made_of = flow_stages(Path()).get(CODE_STAGE, {}).get("meta", {}).get("flow")
    if made_of != flow_hash():
        logger.warning("%s was made for another flow than that of whether %s: %s", FLOW, __version__, _ADVICE)


def write_code(project: Path) -> None:
    """Write code.yaml of a project, if it is not what is installed. Raises ConfigError for a part that is not there."""
    lines = [f"{part}: '{hash_of(part, project)}'\n" for part in sorted(set(_watched(project)))]
    text = "# Written by the stage `code`: the parts of the installed package that stages watch.\n" + "".join(lines)
    file = project / CODE
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_text(file, text)


def hash_of(part: str, project: Path) -> str:
    """Return a hash of a part such as `engine` (a folder), `sources/models` or `pipelines/prompt` (files).

    The beginning of a SHA-256 in hex, since `dvc params diff` and `dvc exp show` print it. Raises ConfigError.
    """
    places = [project, shipped()] if part.startswith(f"{STAGES}/") else [PACKAGE]  # a project's own stage comes first
    for place in places:
        if (place / f"{part}.py").is_file():
            return sha256_file(place / f"{part}.py")[:_DIGITS]
        if (place / part).is_dir():
            files = (file for file in sorted((place / part).rglob("*")) if "__pycache__" not in file.parts)
            hashes = {file.relative_to(place).as_posix(): sha256_file(file) for file in files if file.is_file()}
            return sha256_json(hashes)[:_DIGITS]
    raise ConfigError(f"{FLOW} watches {part}, which whether {__version__} does not have: {_ADVICE}")


def project_flow(text: str) -> str:
    """Return the repository's dvc.yaml as that of a project: code is watched through code.yaml."""
    values = yaml.safe_load(text)
    first = {
        "desc": "the installed package's parts as hashes, so that an upgrade reruns what it changes",
        "cmd": "python -m whether.repository.code",
        "always_changed": True,
        "outs": [{str(CODE): {"cache": False, "persist": True}}],
        "meta": {"flow": flow_hash()},
    }
    values["stages"] = {CODE_STAGE: first} | {name: _in_project(stage) for name, stage in values["stages"].items()}
    shown = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return _HEADER + re.sub(r"^(?=\w|  \w+:$)(?!stages)", "\n", shown, flags=re.MULTILINE).replace(
        "stages:\n\n", "stages:\n"
    )


def flow_hash() -> str:
    """Return what tells the flow of one version from that of another."""
    return sha256_file(shipped() / FLOW)[:_DIGITS]


def _in_project(stage: dict[str, Any]) -> dict[str, Any]:
    """Return a stage whose dependencies on code are parameters of code.yaml."""
    deps = stage.get("deps", [])
    code = [dep for dep in deps if dep.startswith(_SOURCES)]
    changed: dict[str, Any] = {"deps": [dep for dep in deps if dep not in code]}
    if code:
        parts = [dep.removeprefix(_SOURCES[0]).removesuffix(".py") for dep in code]
        changed["params"] = [*stage.get("params", []), {str(CODE): parts}]
    ordered = {key: changed.pop(key, value) for key, value in stage.items()}
    return {key: value for key, value in (ordered | changed).items() if value != []}


def _watched(project: Path) -> Iterator[str]:
    """Yield the parts that a project's flow names."""
    for stage in flow_stages(project).values():
        for parameter in stage.get("params", []):
            if isinstance(parameter, dict):
                yield from parameter.get(str(CODE), [])


def flow_stages(project: Path) -> dict[str, Any]:
    """Return the stages of a project's flow. Raises ConfigError where there is none that can be read."""
    try:
        stages: dict[str, Any] = yaml.safe_load((project / FLOW).read_text(encoding="utf-8"))["stages"]
    except FileNotFoundError:
        raise ConfigError(
            f"{FLOW} is missing: run this in the root of a project (`whether new DIR` makes one)"
        ) from None
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise ConfigError(f"{FLOW} is not a flow with stages: {error}") from None
    return stages


if __name__ == "__main__":
    entry.run(main)
