"""The stage `backend`: which program answers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from references import model_config

from whether.config import load
from whether.config.backend import with_chosen_backend
from whether.errors import EngineError, RecordError
from whether.generate import backend_choice
from whether.generate.backend_choice import choose_backend, measure_backend
from whether.records import (
    BackendChoice,
    BackendMeasurement,
    BackendSpeed,
    Decoding,
    Message,
    Request,
    read_json,
    write_jsonl,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(ROOT)
    found = load()
    model = replace(found.model, backend="auto", threads=1)
    return replace(found, model=model)


@pytest.fixture
def artifacts(tmp_path: Path, settings: Any, tiny_model: Path) -> Path:
    (tmp_path / "model").symlink_to(tiny_model)
    for name in settings.prompts:
        requests = [
            Request(str(number), split, call, [Message("user", f"Question {number}?")], Decoding(3))  # type: ignore[arg-type]
            for call, split in enumerate(("dev", "test"))
            for number in range(30)
        ]
        (tmp_path / "prompt" / name).mkdir(parents=True)
        write_jsonl(tmp_path / "prompt" / name / "requests.jsonl", [one.as_line() for one in requests])
    return tmp_path


def chosen(config: Any, artifacts: Path) -> tuple[str, BackendMeasurement]:
    folder = artifacts / "backend"
    folder.mkdir(exist_ok=True)
    choose_backend(config, artifacts=artifacts, folder=folder)
    return read_json(folder / "backend.json", BackendChoice).backend, read_json(
        folder / "measured.json", BackendMeasurement
    )


class Speeds:
    """In place of the processes that measure."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, config: Any, **load_and_request: tuple[float, float]):
        self.asked: list[str] = []
        self.speeds = {
            name: BackendSpeed(start, dict.fromkeys(config.prompts, each))
            for name, (start, each) in load_and_request.items()
        }
        monkeypatch.setattr(backend_choice, "_speed_in_own_process", self)
        monkeypatch.setattr(backend_choice, "find_spec", lambda _: object())
        monkeypatch.setattr(backend_choice, "_version", lambda _: "1")

    def __call__(self, backend: str) -> BackendSpeed:
        self.asked.append(backend)
        if backend not in self.speeds:
            raise EngineError("not enough memory")
        return self.speeds[backend]


def test_what_is_named_answers_and_nothing_is_measured(settings: Any, artifacts: Path) -> None:
    for name in ("engine", "vllm"):
        named = replace(settings, model=replace(settings.model, backend=name))
        assert chosen(named, artifacts)[0] == name


def test_without_vllm_the_engine_answers(settings: Any, artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_choice, "find_spec", lambda _: None)
    assert chosen(settings, artifacts) == ("engine", BackendMeasurement("", "vLLM is not installed"))


@pytest.mark.parametrize(
    ("vllm", "expected"),
    [
        ((20.0, 0.1), "vllm"),  # 60 requests a prompt: 20 + 6 s for 1 + 60
        ((20.0, 0.55), "engine"),  # faster, but by less than the margin
        ((90.0, 0.1), "engine"),  # its start takes longer than all answers
    ],
)
def test_vllm_is_taken_where_it_is_faster_by_the_margin_with_its_starts(
    settings: Any, artifacts: Path, monkeypatch: pytest.MonkeyPatch, vllm: tuple[float, float], expected: str
) -> None:
    Speeds(monkeypatch, settings, engine=(1.0, 1.0), vllm=vllm)
    backend, measured = chosen(settings, artifacts)
    assert backend == expected
    arms = len(settings.checkpoints) * len(settings.prompts)
    assert measured.arm_seconds["engine"] == pytest.approx(arms * 61)
    assert measured.arm_seconds["vllm"] == pytest.approx(arms * (vllm[0] + 60 * vllm[1]))


def test_a_choice_stays_until_model_or_machine_change(
    settings: Any, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = Speeds(monkeypatch, settings, engine=(1.0, 1.0), vllm=(1.0, 0.1))
    before = chosen(settings, artifacts)
    assert chosen(settings, artifacts) == before
    assert speeds.asked == ["engine", "vllm"]
    chosen(replace(settings, model=replace(settings.model, threads=2)), artifacts)
    assert speeds.asked == ["engine", "vllm"] * 2


def test_where_vllm_fails_the_engine_answers_and_the_reason_is_kept(
    settings: Any, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Speeds(monkeypatch, settings, engine=(1.0, 1.0))
    backend, measured = chosen(settings, artifacts)
    assert (backend, measured.reason) == ("engine", "vLLM failed (not enough memory)")
    recovered = Speeds(monkeypatch, settings, engine=(1.0, 1.0), vllm=(1.0, 0.1))
    assert chosen(settings, artifacts)[0] == "vllm"
    assert recovered.asked == ["engine", "vllm"]


def test_a_checkpoint_that_vllm_cannot_run_leaves_the_engine(
    settings: Any, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Speeds(monkeypatch, settings, engine=(1.0, 1.0), vllm=(1.0, 0.1))
    tuned = settings.checkpoints["lora"]
    adapter = {"_target_": "whether.finetune.adapters.linear_probe"}
    probe = replace(tuned, tuner=replace(tuned.tuner, adapter=adapter))
    with_probe = replace(settings, checkpoints=settings.checkpoints | {"lora": probe})
    backend, measured = chosen(with_probe, artifacts)
    assert backend == "engine"
    assert measured.reason.startswith("checkpoints.lora is a linear probe")


@pytest.mark.heavy
def test_a_backend_is_measured_by_answering_each_prompts_requests(
    settings: Any, artifacts: Path, tmp_path: Path
) -> None:
    config = replace(settings, model=model_config())
    measure_backend("engine", config, artifacts=artifacts, file=tmp_path / "speed.json")
    found = json.loads((tmp_path / "speed.json").read_text())
    assert found["request_seconds"].keys() == settings.prompts.keys()
    assert all(0 < seconds < 10 for seconds in found["request_seconds"].values())


def test_auto_becomes_what_was_chosen(artifacts: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecordError, match=r"backend\.json"):
        with_chosen_backend(settings.model, artifacts)
    Speeds(monkeypatch, settings, engine=(1.0, 1.0), vllm=(1.0, 0.1))
    chosen(settings, artifacts)
    assert with_chosen_backend(settings.model, artifacts).backend == "vllm"
    assert with_chosen_backend(replace(settings.model, backend="engine"), artifacts).backend == "engine"
