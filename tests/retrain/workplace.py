"""A repository in which the retraining job runs on a tiny model: real DVC, real git, real MLflow, seconds a stage."""

import copy
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
CODE = (
    "conf", "pipelines", "src", "dvc.yaml", "params.yaml", "pyproject.toml", "constraints.txt", "knowledge",
    "examples", ".dvcignore",
)  # fmt: skip
SETTINGS = [
    "task=mine", "model=local", "model.name=tiny", "model.source.path=models/tiny", "model.device=cpu",
    "model.dtype=float32",
    "model.threads=1", "checkpoint=[base,linear_probe]", "prompt=[zero_shot]", "baseline=[]", "curve=none",
    "robustness=none",
    "tuner.epochs=6", "serving.requests=2", "serving.warmup=0", "policy.resamples=200", "benchmark.name=numbers",
    "benchmark.tasks=[numbers]", "benchmark.include_path=examples/suite", "benchmark.data=data/suite",
    "benchmark.text=null", "benchmark.limit=4", "benchmark.other=null", "retrain.gate.min_recent_rows=8",
    "retrain.gate.margin=0.2", "retrain.gate.recent_margin=0.4",
    # Base then fails by form, so that few rows show that a tuned checkpoint is better.
    "prompts.zero_shot.decoding._target_=whether.outputs.decoding.greedy",
]  # fmt: skip
TASK = """
name: mine
source: {path: data/mine/rows.jsonl}
inputs: {text: text}
target: label
output: label
labels: [music, weather]
instruction: "Which of {labels}?"
max_new_tokens: 12
"""
SUITE = """
task: numbers
dataset_path: json
dataset_kwargs: {data_files: {test: data/suite/rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{input}}"
doc_to_choice: choices
doc_to_target: target
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
WORDS = {
    "music": "play song album band tune singer guitar drums chorus record".split(),  # noqa: SIM905
    "weather": "rain snow wind storm fog hail frost cloud sunny thunder".split(),  # noqa: SIM905
}

Row = dict[str, Any]


def rows(count: int, seed: int) -> list[Row]:
    """Draw rows: four words of a label each."""
    drawn = random.Random(seed)
    return [
        {"text": " ".join([*drawn.sample(WORDS[label], 4), str(drawn.randrange(10**6))]), "label": label}
        for label in (sorted(WORDS) * count)[:count]
    ]


@dataclass
class Ended:
    """A command that came to its end."""

    status: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        """The line for the scheduler."""
        return dict(json.loads(self.out.strip().splitlines()[-1]))


class Workplace:
    """A repository with its data, and the job's commands.

    Commands run in the Python of the fixture `warm`, except those that a test may have to kill: see `start`.
    """

    def __init__(self, path: Path, model: Path, warm: Path, database: Path):
        """Lay out a repository below `path`, which must be empty, with copies of the model and of MLflow's database."""
        self.path, self.database = path, database
        self.python = str(warm / "python")
        for name in CODE:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(ROOT / name, path / name)
        shutil.copytree(model, path / "models" / "tiny")
        shutil.copy(database, path / "mlflow.db")
        (path / "conf/task/mine.yaml").write_text(TASK)
        (path / "examples/suite").mkdir()
        (path / "examples/suite/numbers.yaml").write_text(SUITE)
        choices = ["one", "two", "three", "four"]
        numbers = [{"input": f"Number {n}?", "target": choices[n % 4], "choices": choices} for n in range(4)]
        self.write("data/suite/rows.jsonl", numbers)
        self.write("data/mine/rows.jsonl", rows(80, 0))
        (path / ".gitignore").write_text((ROOT / ".gitignore").read_text() + "/models/\n")
        self.environment = os.environ | {
            "PYTHONPATH": f"{path / 'src'}{os.pathsep}{path}",
            "PATH": os.pathsep.join([str(warm), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.com",
            "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.com",
            "PYTEST_CURRENT_TEST": "",
        }  # fmt: skip
        for command in (
            "git init --quiet -b main", "dvc init --quiet", f"cp {ROOT / '.dvc/config'} .dvc", "dvc add --quiet data",
            "git add . && git commit --quiet -m begin",
        ):  # fmt: skip
            self.shell(command)

    def clone(self, path: Path) -> Self:
        """Clone what is committed, with the model and the data, which git does not hold."""
        made = copy.copy(self)
        made.path = path
        made.environment = self.environment | {"PYTHONPATH": f"{path / 'src'}{os.pathsep}{path}"}
        subprocess.run(["git", "clone", "--quiet", str(self.path), str(path)], check=True)
        for name in ("models", "data"):
            shutil.copytree(self.path / name, path / name)
        shutil.copy(self.database, path / "mlflow.db")
        made.shell("dvc commit --quiet --force data.dvc")
        return made

    def write(self, name: str, lines: Iterable[Row | str]) -> None:
        """Write JSON lines, as another system would into an inbox: under another name first."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        part.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        part.rename(target)

    def shell(self, command: str) -> str:
        """Run a shell command that has to go well."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.path, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Begin the job in the background, with its own interpreter, as in every stage that it starts."""
        path = self.environment["PATH"].split(os.pathsep, 1)[1]
        return self._start(sys.executable, words, self.environment | {"PATH": path})

    def job(self, *words: str) -> Ended:
        """Run the job to its end."""
        process = self._start(self.python, words, self.environment)
        out, err = process.communicate()
        assert "Traceback" not in err, err[-4000:]
        return Ended(process.returncode, out, err)

    def _start(self, python: str, words: Iterable[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
        command = [python, "-m", "pipelines.retrain", *SETTINGS, *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.path, env=environment, text=True, **pipes)

    def module(self, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run `python -m` to its end, with any exit status."""
        command, changed = [self.python, "-m", *words], self.environment | environment
        return subprocess.run(command, cwd=self.path, env=changed, capture_output=True, text=True, check=False)

    def champion(self) -> dict[str, Any]:
        """Who is the champion, its bundle checked."""
        return dict(json.loads(self.job("action=status").out))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Read JSON lines; an empty list where the file does not exist."""
        file = self.path / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
