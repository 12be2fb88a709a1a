"""What a prompt asks: the same bytes from the same settings, times apart."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from whether.config import PromptConfig, RobustnessConfig, ServingConfig
from whether.outputs.decoding import constrained, json_answer, self_consistency
from whether.prompt.requests import PromptInputs, all_requests, read_inputs, requests_of, write_prompt
from whether.prompt.strategies import zero_shot
from whether.records import (
    OWN,
    SAMPLED,
    Choice,
    Example,
    FormatPlan,
    Request,
    Task,
    output_folder,
    read_json,
    read_jsonl,
    write_jsonl,
)

STRATEGIES, DECODING = "whether.prompt.strategies", "whether.outputs.decoding"
PROMPTS = {
    "few_shot": PromptConfig(strategy={"_target_": f"{STRATEGIES}.few_shot", "examples": 3}),
    "diverse": PromptConfig(
        strategy={"_target_": f"{STRATEGIES}.few_shot", "examples": 3, "choose": "diverse"},
        decoding={"_target_": f"{DECODING}.json_answer", "constrained": True},
    ),
    "knn": PromptConfig(
        strategy={"_target_": f"{STRATEGIES}.knn", "examples": 3},
        decoding={"_target_": f"{DECODING}.label_scores", "calibrate": True},
    ),
}
PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.prompt.test_requests import write_all
write_all(Path(sys.argv[1]), Path(sys.argv[2]))
"""
TIMES = {"timing.json"}


def write_all(artifacts: Path, folder: Path) -> None:
    """Write every prompt of `PROMPTS`."""
    inputs = read_inputs(artifacts / "prepare")
    for name, prompt in PROMPTS.items():
        with output_folder(folder / name) as made:
            write_prompt(
                name, prompt, 0, inputs=inputs, robustness=RobustnessConfig(examples=5, samples=2),
                serving=ServingConfig(requests=2, warmup=0), folder=made,
            )  # fmt: skip


@pytest.fixture
def artifacts(make_artifacts, tiny_model: Path, label_task: Task, examples: list[Example]) -> Path:
    return make_artifacts(tiny_model, replace(label_task, inputs=["text"]), examples)


@pytest.mark.heavy
def test_two_processes_with_other_hash_seeds_write_the_same_bytes(artifacts: Path, tmp_path: Path) -> None:
    """An expensive stage runs again where these files differ."""
    root = Path(__file__).parents[2]
    found = []
    for seed in ("1", "2"):
        path = os.pathsep.join([str(root), str(root / "src"), str(root / "tests")])
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", PROGRAM, str(artifacts), str(tmp_path / seed)]
        subprocess.run(command, env=environment, check=True)
        files = [file for file in (tmp_path / seed).rglob("*") if file.is_file() and file.name not in TIMES]
        found.append({str(file.relative_to(tmp_path / seed)): file.read_bytes() for file in files})
    assert len(found[0]) == 4 * len(PROMPTS)
    assert found[0] == found[1]


def test_what_is_asked_is_in_the_files(artifacts: Path, tmp_path: Path) -> None:
    write_all(artifacts, tmp_path / "out")
    requests = read_jsonl(tmp_path / "out" / "knn" / "requests.jsonl", Request)
    assert [one.split for one in requests] == ["calibration"] * 3 + ["dev"] * 10 + ["test"] * 10
    assert {one.call for one in requests} == {0}
    assert requests[0].decoding.score == ("billing", "tech", "other")
    plan = read_json(tmp_path / "out" / "few_shot" / "formats.json", FormatPlan)
    formats = read_jsonl(tmp_path / "out" / "few_shot" / "formats.jsonl", Request)
    assert len(plan.examples) == 5
    assert list(dict.fromkeys(one.variant for one in formats)) == [
        "own",
        *(form.name for form in plan.formats),
        "sampled",
    ]
    assert {one.decoding.sampling.samples for one in formats if one.variant == "sampled"} == {2}
    calls = {one.call: {other.decoding for other in formats if other.call == one.call} for one in formats}
    assert all(len(decodings) == 1 for decodings in calls.values())
    assert read_json(tmp_path / "out" / "few_shot" / "retrieval.json") == {}


def test_every_decoding_is_read_back(tmp_path: Path, label_task: Task, examples: list[Example]) -> None:
    strategy = zero_shot(label_task, examples, 0)
    asked = [
        request
        for decoding in (
            constrained(label_task, 0),
            json_answer(label_task, 0, constrained=True),
            self_consistency(label_task, 3, samples=2, temperature=0.5, top_p=0.9),
        )
        for request in requests_of(strategy, decoding, examples[:2], "dev")
    ]
    write_jsonl(tmp_path / "requests.jsonl", [one.as_line() for one in asked])
    assert read_jsonl(tmp_path / "requests.jsonl", Request) == asked


def test_a_format_that_spells_labels_anew_is_constrained_to_that_spelling(
    label_task: Task, examples: list[Example]
) -> None:
    prompt = PromptConfig(strategy=PROMPTS["few_shot"].strategy, decoding={"_target_": f"{DECODING}.constrained"})
    inputs = PromptInputs(replace(label_task, inputs=["text"]), examples, examples[:6], [], None, [])
    robustness = RobustnessConfig(examples=4, samples=3, formats=["labels_upper", "labels_reversed", "input_colon"])
    _, formats = all_requests("few_shot", prompt, 0, inputs, robustness)
    held_to = {one.variant: one.decoding.constraint for one in formats}
    own = Choice(("billing", "tech", "other"))
    assert held_to == {
        OWN: own, SAMPLED: own, "input_colon": own,
        "labels_upper": Choice(("BILLING", "TECH", "OTHER")), "labels_reversed": Choice(("other", "tech", "billing")),
    }  # fmt: skip
    assert {one.decoding.sampling.samples for one in formats if one.variant == SAMPLED} == {3}
    assert not any(one.decoding.constraint_required for one in formats)


def test_times_are_kept_while_the_requests_are_the_same(artifacts: Path, tmp_path: Path) -> None:
    """Else a further prompt would change the latency of every arm."""
    prompt, inputs = PROMPTS["few_shot"], read_inputs(artifacts / "prepare")

    def times(name: str, serving: ServingConfig, before: Path | None) -> bytes:
        with output_folder(tmp_path / name) as made:
            write_prompt(
                "few_shot", prompt, 0, inputs=inputs, robustness=RobustnessConfig(examples=0), serving=serving,
                folder=made, before=before,
            )  # fmt: skip
        return (tmp_path / name / "timing.json").read_bytes()

    serving = ServingConfig(requests=3, warmup=1)
    first = times("first", serving, None)
    assert times("again", serving, tmp_path / "first") == first
    assert times("other", ServingConfig(requests=4, warmup=1), tmp_path / "first") != first
    (tmp_path / "first" / "timing.json").write_text("[]")
    assert times("broken", serving, tmp_path / "first") != b"[]"
