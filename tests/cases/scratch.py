"""Runs a case: the project's own commands, in a repository of its own, on a tiny random model (README.md)."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from programs import ASK, COLLIDE, PUBLISH, READ

Case = Mapping[str, Any]
Facts = dict[str, Any]
HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
BASE_TASK = {
    "name": "case", "inputs": {"text": "text"}, "target": "label", "output": "label",
    "instruction": "Which of {labels}? Answer with the label only.", "max_new_tokens": 64, "near_duplicate": 1.0,
}  # fmt: skip
SETTINGS = [
    "task=case", "model=local", "model.name=tiny", "model.source.path=models/tiny", "model.device=cpu",
    "model.threads=1", "model.backend=engine", "checkpoint=[base]", "prompt=[zero_shot]", "baseline=[]", "curve=none",
    "robustness=none", "tracking=none", "serving.requests=2", "serving.warmup=0",
]  # fmt: skip
PIPELINE = "stages:\n  stop:\n    cmd: 'false'\n"
"""In place of dvc.yaml: a retraining run of the inbox cases ends there, with a record."""
ARM = ("compose", "prepare", "training_set", "finetune {0}", "prompt", "backend", "generate {0} {1}", "score")


@dataclass
class Ended:
    """What a command, or several, left behind."""

    status: int
    text: str
    stage: str = ""
    facts: Facts = field(default_factory=dict)

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.text


class Scratch:
    """Makes repositories and runs commands in them."""

    def __init__(self, folder: Path, python: Path):
        self.folder, self.python, self.count = folder, python, 0
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1", "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.com",
            "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.com",
            "PYTHONIOENCODING": "utf-8:backslashreplace",
        }  # fmt: skip
        self.model, self.template = folder / "tiny-model", folder / "template"
        self._make_model(self.model)
        self.template.mkdir()
        for name in ("conf", "knowledge", "examples"):
            shutil.copytree(ROOT / name, self.template / name)
        (self.template / "data").mkdir()
        (self.template / "data" / "note.txt").write_text("nothing\n")
        (self.template / "dvc.yaml").write_text(PIPELINE)
        (self.template / ".gitignore").write_text("/artifacts/\n/data\n/retrain/\n/inbox/\n/.state/\n/models/\n")
        for words in ("git init -qb main", "dvc init -q", "dvc add -q data", "git add .", "git commit -qm begin"):
            self._command(self.template, words.split(), check=True)

    def run(self, kind: Path, case: Case) -> Ended:
        """Run a case in the way that it names."""
        done: Ended = getattr(self, f"_run_{case['run']}")(kind, case)
        return done

    def _run_compose(self, kind: Path, case: Case) -> Ended:
        place = self._repository(kind, case)
        done = self._stages(place, case, ["compose"])
        if done.status == 0:
            done.facts["params"] = yaml.safe_load((place / "params.yaml").read_text(encoding="utf-8"))
        return done

    def _run_prepare(self, kind: Path, case: Case) -> Ended:
        place = self._repository(kind, case)
        done = self._stages(place, case, ["compose", "prepare"])
        done.facts = _prepared(place)
        return done

    def _run_inbox(self, kind: Path, case: Case) -> Ended:
        place = self._repository(kind, case)
        (place / "inbox").mkdir()
        arriving = next(name for name in case["files"] if "known" not in name)
        shutil.move(place / arriving, place / "inbox" / arriving)
        done = self._stages(place, case, ["retrain"])
        runs = _json_lines(place / "retrain" / "runs.jsonl")
        aside = [
            row for file in sorted((place / "retrain" / "quarantine").glob("*.jsonl")) for row in _json_lines(file)
        ]
        collected = [row for file in (place / "data" / "collected").glob("*.jsonl") for row in _json_lines(file)]
        columns = (case["task"].get("inputs") or BASE_TASK["inputs"]).values()
        target = case["task"].get("target", "label")
        done.facts = {
            "record": bool(runs),
            "taken": runs[-1]["intake"] if runs else {},
            "quarantined_lines": [row["line"] for row in aside],
            "rows": [
                ["\n".join(row["row"][column] for column in columns), row["row"].get(target)]
                for row in collected
                if row["destination"] != "repeat"
            ],
        }
        attention = runs[-1]["attention"] if runs else []
        done.text += "\n".join(["", *attention, *(row["reason"] for row in aside)])
        return done

    def _run_read(self, kind: Path, case: Case) -> Ended:
        del kind
        done = self._program(self._folder(case), READ, case["groups"])
        asked = [(group, one) for group in case["groups"] for one in group["outputs"]]
        answers = done.facts.get("answers", [None] * len(asked))
        wrong = [
            {"output": one["output"], "read": answer, "right": one.get("any", one.get("answer"))}
            for (_, one), answer in zip(asked, answers, strict=True)
            if answer not in one.get("any", [one.get("answer")])
        ]
        done.facts = {"wrong": wrong, "of": len(asked)}
        return done

    def _run_ask(self, kind: Path, case: Case) -> Ended:
        whole = yaml.safe_load((kind / "cases.yaml").read_text(encoding="utf-8"))
        with _server() as url:
            values = {"url": url, "instruction": whole["instruction"], "chats": whole["chats"], **case}
            done = self._program(self._folder(case), ASK, values)
            with urllib.request.urlopen(url.removesuffix("/v1") + "/log") as answer:
                done.facts["requests"] = len(json.load(answer))
        done.facts["chats"] = len(whole["chats"])
        return done

    def _run_served_arm(self, kind: Path, case: Case) -> Ended:
        price = "{date: '2026-01-01', source: none, usd_per_1m_input: 0, usd_per_1m_output: 0}"
        with _server() as url:
            values = {
                "base_url": url, "model": case["model"], "price": price, "attempts": 3, "timeout": 10.0,
                "concurrency": 2, **case.get("served", {}),
            }  # fmt: skip
            words = [f"checkpoints.served.served.{key}={value}" for key, value in values.items()]
            return self._arm(kind, case, "served", ["checkpoint=[base,served]", *words])

    def _run_local_arm(self, kind: Path, case: Case) -> Ended:
        return self._arm(kind, case, "base", [])

    def _arm(self, kind: Path, case: Case, checkpoint: str, settings: Sequence[str]) -> Ended:
        place, prompt = self._repository(kind, case), case.get("prompt", "zero_shot")
        stages = [
            stage.format(name, prompt)
            for stage in ARM
            for name in (dict.fromkeys(["base", checkpoint]) if "{0}" in stage else [checkpoint])
        ]  # score reads every arm of the run
        done = self._stages(place, case, stages, [f"prompt=[{prompt}]", *settings])
        facts = done.facts = _prepared(place)
        source = place / (case.get("task", {}).get("source", {}).get("path") or case["files"][0])
        text = source.read_text(encoding="utf-8").split("\n")[case["must_be_asked"] - 1].rpartition(",")[0]
        facts["asked_it"] = any(text == " ".join(inputs.values()) for inputs in facts.get("asked", []))
        answered = _json_lines(place / "artifacts" / "generate" / f"{checkpoint}-{prompt}" / "generations.jsonl")
        facts["answered"] = sum(any(one["text"] for one in row["samples"]) for row in answered)
        facts["of"] = len(facts.get("asked", []))
        facts["records"] = _texts(place / "artifacts")
        return done

    def _run_finetune(self, kind: Path, case: Case) -> Ended:
        place = self._repository(kind, case)
        stages = ["compose", "prepare", "training_set", "finetune lora"]
        done = self._stages(place, case, stages, ["checkpoint=[base,lora]", "tuner.epochs=1"])
        done.facts = {**_prepared(place), "records": _texts(place / "artifacts")}
        return done

    def _run_model(self, kind: Path, case: Case) -> Ended:
        place = self._repository(kind, case)
        (place / "artifacts" / "model").unlink()
        self._make_model(place / "models" / "fault", case["fault"])
        stages = ["compose", "model", *(stage.format("base", "zero_shot") for stage in ARM[1:])]
        done = self._stages(place, case, stages, ["model.source.path=models/fault"])
        sent = place / "artifacts" / "generate" / "base-zero_shot" / "prompt.txt"
        prompt = sent.read_text(encoding="utf-8") if sent.exists() else ""
        inputs = [line.rpartition(",")[0] for line in (kind / "rows.csv").read_text(encoding="utf-8").splitlines()[1:]]
        asked = next((text for text in inputs if text in prompt), "(no input of rows.csv)")
        done.facts = {"prompt": prompt, "input": asked, "ran": [file.name for file in place.rglob("RAN")]}
        return done

    def _run_publish(self, kind: Path, case: Case) -> Ended:
        place = self._repository(kind, case)
        done = self._stages(place, case, ["compose"])
        if done.status == 0:
            done = self._program(place, PUBLISH, {"name": case["name"], "root": str(ROOT)})
            done.stage = "publish"
        return done

    def _run_collide(self, kind: Path, case: Case) -> Ended:
        for name in case["name"]:
            place = self._repository(kind, {**case, "name": name})
            done = self._stages(place, case, ["compose"])
            if done.status:
                done.facts = {"apart": True}
                return done
        done = self._program(place, COLLIDE, {"name": case["name"]})
        done.facts["apart"] = len(set(done.facts.get("files", []))) == len(case["name"])
        return done

    def _make_model(self, folder: Path, *fault: str) -> None:
        maker = HERE / "H_model_folders" / "make_model.py"
        words = ["make_model.py", str(folder), *fault]
        program = f"import runpy, sys; sys.argv = {words!r}; runpy.run_path({str(maker)!r}, run_name='__main__')"
        self._command(self.folder, [str(self.python), "-c", program], check=True)

    def _folder(self, case: Case) -> Path:
        self.count += 1
        place = self.folder / f"{case['id']}-{self.count}"
        place.mkdir()
        return place

    def _repository(self, kind: Path, case: Case) -> Path:
        """A repository with the kind's files and conf/task/case.yaml."""
        place = self._folder(case)
        shutil.copytree(self.template, place, symlinks=True, dirs_exist_ok=True)
        for entry in kind.iterdir():
            if entry.name not in ("cases.yaml", "__pycache__"):
                (shutil.copytree if entry.is_dir() else shutil.copy)(entry, place / entry.name)
        for folder in ("models", "artifacts"):
            (place / folder).mkdir()
        (place / "models" / "tiny").symlink_to(self.model)
        (place / "artifacts" / "model").symlink_to(self.model)
        (place / "conf" / "task" / "case.yaml").write_text(_task_text(case), encoding="utf-8")
        return place

    def _stages(self, place: Path, case: Case, stages: Sequence[str], settings: Sequence[str] = ()) -> Ended:
        """Run `python -m pipelines.<stage>` one after the other until one fails."""
        words, said = [*SETTINGS, *settings, *case.get("overrides", [])], ""
        for stage in stages:
            name, *arguments = stage.split()
            arguments = words if name in ("compose", "retrain") else arguments
            done = self._command(place, [str(self.python), "-m", f"pipelines.{name}", *arguments])
            said += done.text
            if done.status:
                return Ended(done.status, said, name)
        return Ended(0, said, stages[-1].split()[0])

    def _program(self, place: Path, text: str, values: object) -> Ended:
        """Run a program that gets `values` and prints one JSON object as its last line."""
        (place / "values.json").write_text(json.dumps(values), encoding="utf-8")
        done = self._command(place, [str(self.python), "-c", text])
        lines = [line for line in done.text.splitlines() if line.startswith('{"')]
        done.facts = json.loads(lines[-1]) if lines else {}
        return done

    def _command(self, place: Path, words: Sequence[str], *, check: bool = False) -> Ended:
        done = subprocess.run(
            words, cwd=place, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=300,
            check=False,
        )  # fmt: skip
        text = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)}\n{text}")
        return Ended(done.returncode, text)


def _task_text(case: Case) -> str:
    """The YAML of the task: the base task, the case's changes, and last what stands in `yaml`, as it is."""
    raw = case.get("yaml", "")
    source = next((name for name in case.get("files", []) if "known" not in name), "rows.csv")
    values = {**BASE_TASK, "source": {"path": source}, **case.get("task", {})}
    if isinstance(case.get("name"), str):
        values["name"] = case["name"]
    for key in re.findall(r"^(\w+):", raw, re.MULTILINE):
        values.pop(key, None)
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False) + raw


def _json_lines(file: Path) -> list[Any]:
    lines = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
    return [json.loads(line) for line in lines if line.strip()]


def _texts(folder: Path) -> str:
    files = [file for file in folder.rglob("*.json*") if file.is_file() and "model" not in file.parts]
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


def _prepared(place: Path) -> Facts:
    folder = place / "artifacts" / "prepare"
    if not folder.is_dir():
        return {}
    examples = [row for name in ("train", "dev", "test") for row in _json_lines(folder / f"{name}.jsonl")]
    return {
        "rows": [["\n".join(row["inputs"].values()), row["target"]] for row in examples],
        "labels": json.loads((folder / "task.json").read_text(encoding="utf-8"))["labels"],
        "rejected": [row["line"] for row in _json_lines(folder / "rejected.jsonl")],
        "rejected_text": (folder / "rejected.jsonl").read_text(encoding="utf-8"),
        "profile": json.loads((folder / "profile.json").read_text(encoding="utf-8")),
        "asked": [row["inputs"] for name in ("dev", "test") for row in _json_lines(folder / f"{name}.jsonl")],
    }


@contextmanager
def _server() -> Iterator[str]:
    """The server of F_api_dialects: its address."""
    program = HERE / "F_api_dialects" / "fake_server.py"
    with subprocess.Popen([sys.executable, "-IS", str(program)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
