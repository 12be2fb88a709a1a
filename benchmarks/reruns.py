"""Eight edits after a finished run: which stages run again, and which models.

python benchmarks/reruns.py [--json] [--folder FOLDER]

Clones this repository with its uncommitted changes, runs `whether run experiment=smoke` there (some minutes; data and
model come from the cache of this machine), and then makes one edit at a time: a remark in the file, or a setting.
Edits of code that reads or makes words are followed by a real `dvc repro`; for those that run models again, `dvc
status` says which stages are no longer up to date. FOLDER is kept, and a second call goes on from its finished run.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
MODELS = ("finetune", "generate", "robustness", "benchmark", "curve_tune", "curve_generate")
"""Stages that run a model."""
SETTINGS = ("experiment=smoke", "tracking.enabled=false")


class Edit(NamedTuple):
    """One edit."""

    name: str
    file: str
    """Below the repository; a remark is added to it."""
    overrides: tuple[str, ...] = ()
    """Settings that change, in place of a file."""
    is_run: bool = True
    """Whether stages are run; False: `dvc status` is asked."""


EDITS = (
    Edit("tuner", "", ("tuner.learning_rate=0.001",), is_run=False),
    Edit("strategy", "src/whether/prompt/strategies.py"),
    Edit("parser", "src/whether/outputs/label.py"),
    Edit("metric", "src/whether/metrics/quality.py"),
    Edit("statistics", "src/whether/stats/intervals.py"),
    Edit("template", "src/whether/report/report.html.j2"),
    Edit("publisher", "src/whether/tracking/publish.py"),
    Edit("engine", "src/whether/engine/generation.py", is_run=False),
    Edit("robustness", "", ("robustness=none",)),
)


class Clone(NamedTuple):
    """A clone with a finished run."""

    folder: Path

    def call(self, *command: str) -> str:
        """Run a command there; its output, standard error included."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = os.environ | {"PYTHONPATH": str(self.folder / "src"), "PATH": path, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=self.folder, env=environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")
        return done.stdout

    def run(self, *overrides: str) -> list[str]:
        """Run what is not up to date; the stages that ran."""
        output = self.call("whether.cli", "run", *SETTINGS, *overrides)
        return sorted(set(re.findall(r"Running stage '([^']+)'", output)) - {"compose"})

    def status(self, *overrides: str) -> list[str]:
        """The stages that are not up to date by what is there."""
        self.call("pipelines.compose", *SETTINGS, *overrides)
        found = json.loads(self.call("dvc", "status", "--json"))
        return sorted(set(found) - {"compose"})


def main() -> None:
    """Make the edits one by one, and print what each of them runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object: numbers, and the stages of each edit")
    parser.add_argument("--folder", type=Path, help="where to clone to, or the clone of an earlier call")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp()) / "whether"
    clone = make_clone(folder)
    stages = {edit.name: after(edit, clone) for edit in EDITS}
    if not options.folder:
        shutil.rmtree(folder.parent)
    models = {name: [one for one in found if one.startswith(MODELS)] for name, found in stages.items()}
    numbers = {f"models_rerun_by_{name}_edit": len(models[name]) for name in ("parser", "metric", "statistics")}
    numbers["models_rerun_by_template_edit"] = len(models["template"])
    numbers["models_rerun_by_engine_edit_finetunes"] = sum(
        one.startswith(("finetune", "curve_tune")) for one in models["engine"]
    )
    numbers["models_rerun_by_strategy_edit_unchanged_requests"] = len(models["strategy"])
    if options.json:
        print(json.dumps(numbers | {"stages": stages}))
        return
    for name, found in stages.items():
        print(f"{name:11} {len(models[name]):2} models  {', '.join(found) or 'nothing'}")


def make_clone(folder: Path) -> Clone:
    """Clone, run once, and return the clone; one that is there is taken as it is."""
    clone = Clone(folder.resolve())
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        listed = ["git", "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
        changed = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, changed.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
    clone.run()
    return clone


def after(edit: Edit, clone: Clone) -> list[str]:
    """Return the stages that an edit makes stale or runs; the clone is as before afterwards."""
    file = clone.folder / edit.file
    text = file.read_bytes() if edit.file else b""
    if edit.file:
        remark = b"\n{# a remark #}\n" if file.suffix == ".j2" else b"\n# a remark\n"
        file.write_bytes(text + remark)
    found = clone.run(*edit.overrides) if edit.is_run else clone.status(*edit.overrides)
    if edit.file:
        file.write_bytes(text)
    clone.run()
    return found


if __name__ == "__main__":
    main()
