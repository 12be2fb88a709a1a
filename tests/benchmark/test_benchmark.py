"""The benchmark of a tiny model: lm-eval through its Python API, without network, perplexity and speed."""

import hashlib
import logging
import math
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from references import model_config

from whether.benchmark.benchmark import benchmark
from whether.benchmark.other import measure_unseen_task
from whether.benchmark.speed import measure_speed
from whether.benchmark.text import measure_perplexity
from whether.config import BenchmarkConfig, SourceConfig, TaskConfig
from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.errors import ConfigError, DataError, EngineError, RecordError
from whether.model.tokens import encode, encode_answer
from whether.records import Message, read_json, read_jsonl, write_json, write_jsonl

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "src/whether/benchmark/tasks"
MODEL = model_config()
CHOICES = ["one", "two", "three", "four"]
NUMBERS = """
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{input}}"
doc_to_choice: choices
doc_to_target: target
"""


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository's root with a base checkpoint, two tasks over the same rows, and text."""
    monkeypatch.chdir(tmp_path)
    Path("artifacts").mkdir()
    Path("artifacts/model").symlink_to(tiny_model)
    write_json(Path("artifacts/finetune/base/checkpoint/checkpoint.json"), {"kind": "base"})
    rows = [{"input": f"Which number is {n}?", "target": CHOICES[n % 4], "choices": CHOICES} for n in range(12)]
    write_jsonl(Path("rows.jsonl"), rows)
    write_jsonl(Path("text.jsonl"), [{"input": "Some general text. " * 20}, {"input": "More of it. " * 20}])
    Path("tasks").mkdir()
    for name, metrics in (("numbers", ["acc", "acc_norm"]), ("numbers_norm", ["acc_norm", "acc"])):
        listed = [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in metrics]
        Path(f"tasks/{name}.yaml").write_text(NUMBERS + yaml.safe_dump({"task": name, "metric_list": listed}))
    return tmp_path


CONFIG = BenchmarkConfig(
    name="suite", tasks=["numbers", "numbers_norm"], include_path="tasks", limit=10, text="text.jsonl", text_tokens=64
)


def run(config: BenchmarkConfig = CONFIG) -> Path:
    folder = Path("artifacts/benchmark/base")
    benchmark("base", config, MODEL, 0, artifacts=Path("artifacts"), folder=folder)
    return folder


@pytest.mark.heavy
def test_records(place: Path) -> None:
    folder = run()
    metrics, results = read_json(folder / "metrics.json"), read_json(folder / "results.json")
    samples = read_jsonl(folder / "samples.jsonl")
    assert [(name, result["metric"], result["n"]) for name, result in results.items()] == [
        ("numbers", "acc", 10),
        ("numbers_norm", "acc_norm", 10),
    ]
    for name, result in results.items():
        scores = [sample["score"] for sample in samples if sample["task"] == name]
        assert [sample["doc_id"] for sample in samples if sample["task"] == name] == list(range(10))
        assert result["value"] == pytest.approx(sum(scores) / 10)
        assert result["stderr"] is not None
    assert metrics["retention"] == pytest.approx((results["numbers"]["value"] + results["numbers_norm"]["value"]) / 2)
    assert metrics["n_documents"] == 20
    assert (metrics["truncated_requests"], metrics["truncated_tokens"]) == (0, 0)
    assert metrics["n_text_tokens"] == 64
    assert metrics["tokens_per_second"] > 0
    assert 0 < metrics["latency_p50"] <= metrics["latency_p95"]
    assert metrics["latency_input_tokens"] == 256
    assert 1 <= metrics["latency_output_tokens"] <= 16
    assert metrics["disk"] == 0
    assert metrics["model_disk"] > 100_000
    assert metrics["peak_memory"] > 50e6


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["weights", "head"])
def test_what_is_stored_for_a_checkpoint_without_an_adapter_counts(place: Path, kind: str) -> None:
    import torch
    from safetensors.torch import save_file

    width = 64
    tensors = {
        "weights": {"model.norm.weight": torch.ones(width)},
        "head": {"lm_head.weight": torch.zeros(3, width), "lm_head.bias": torch.zeros(3)},
    }[kind]
    folder = Path("artifacts/finetune/base/checkpoint")
    write_json(folder / "checkpoint.json", {"kind": kind, "labels": ["a", "b", "c"]})
    save_file(tensors, folder / "weights.safetensors")
    config = replace(CONFIG, tasks=["numbers"], limit=2, text=None)
    assert read_json(run(config) / "metrics.json")["disk"] == (folder / "weights.safetensors").stat().st_size


@pytest.mark.heavy
def test_scores_are_those_of_lm_evals_hf_backend(place: Path) -> None:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = run()
    model = AutoModelForCausalLM.from_pretrained("artifacts/model", dtype="float32")
    peer = HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained("artifacts/model"), device="cpu")
    tasks = TaskManager(include_path="tasks", include_defaults=False).load(CONFIG.tasks)
    report = lm_eval.evaluate(peer, tasks, limit=10, bootstrap_iters=0)
    for name, result in read_json(folder / "results.json").items():
        assert report["results"][name][f"{result['metric']},none"] == result["value"]


@pytest.mark.heavy
def test_local_tasks_touch_neither_network_nor_home_and_print_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import datasets.config

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    before = datasets.config.HF_DATASETS_CACHE
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "home")
    logging.getLogger("lm_eval").setLevel(logging.INFO)
    run()
    assert not (place / "home").exists()
    assert datasets.config.HF_DATASETS_CACHE == place / "home" != before
    assert not [record for record in caplog.records if record.name.startswith("lm_eval")]
    written = capfd.readouterr()
    assert written.out == ""
    assert "examples" not in written.err
    assert "Tokenizing" not in written.err


@pytest.mark.heavy
def test_documents_longer_than_the_context_window_are_counted(place: Path) -> None:
    rows = read_jsonl(Path("rows.jsonl"))
    write_jsonl(Path("rows.jsonl"), [{**rows[0], "input": "number " * 900}, *rows[1:]])
    config = replace(CONFIG, tasks=["numbers"])
    metrics = read_json(run(config) / "metrics.json")
    assert metrics["truncated_requests"] == len(CHOICES)
    assert metrics["truncated_tokens"] > 1000
    with pytest.raises(EngineError, match=r"request \d+ has \d+ tokens of context.*1024.*set truncation to left"):
        run(replace(config, truncation="error"))


@pytest.mark.heavy
def test_without_text_perplexity_is_not_measured(place: Path) -> None:
    metrics = read_json(run(replace(CONFIG, text=None, tasks=["numbers"])) / "metrics.json")
    assert metrics["perplexity"] is None
    assert metrics["n_text_tokens"] is None


def test_perplexity_is_that_of_the_model(place: Path, tiny_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    local = LocalModel.load(tiny_model, None, MODEL)
    measured = measure_perplexity(local, Path("text.jsonl"), 10_000)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    total, count = 0.0, 0
    for line in read_jsonl(Path("text.jsonl")):
        ids = tokenizer(line["input"], add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([[tokenizer.bos_token_id, *ids]])).logits[0, :-1]
        total += torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None]).sum().item()
        count += len(ids)
    assert measured.tokens == count
    assert measured.value == pytest.approx(math.exp(-total / count), rel=1e-4)


@pytest.mark.heavy
def test_an_unknown_task_is_named_with_near_matches(place: Path) -> None:
    with pytest.raises(ConfigError, match="tasks has no task 'numbesr'; did you mean 'numbers'"):
        run(replace(CONFIG, tasks=["numbesr"]))
    with pytest.raises(ConfigError, match="nowhere is not a folder"):
        run(replace(CONFIG, include_path="nowhere"))


@pytest.mark.heavy
def test_an_unknown_task_of_lm_eval_itself_is_named(place: Path) -> None:
    with pytest.raises(ConfigError, match="lm-eval has no task 'arc_eazy'; did you mean 'arc_easy'"):
        run(replace(CONFIG, tasks=["arc_eazy"], include_path=None))


@pytest.mark.heavy
def test_missing_rows_and_text_are_named(place: Path) -> None:
    with pytest.raises(RecordError, match=r"no\.jsonl is missing"):
        run(replace(CONFIG, text="no.jsonl"))
    write_jsonl(Path("empty.jsonl"), [{"input": ""}])
    with pytest.raises(DataError, match=r"empty\.jsonl holds no text"):
        run(replace(CONFIG, text="empty.jsonl"))
    Path("rows.jsonl").unlink()
    with pytest.raises(DataError, match=r"rows\.jsonl.*whether fetch"):
        run()


@pytest.mark.heavy
@pytest.mark.parametrize("path", sorted(TASKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_task_does_not_favour_the_first_choice(path: Path, tmp_path: Path, monkeypatch) -> None:
    """BIG-bench often lists the right choice first: the choices that are scored are in an order of their own."""
    from lm_eval.tasks import TaskManager

    choices = ["b right", "a wrong", "d wrong", "c wrong"]
    if path.stem == "whether_cause_and_effect":
        choices = choices[:2]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    rows = yaml.safe_load(path.read_text())["dataset_kwargs"]["data_files"]["test"]
    write_jsonl(Path(rows), [{"input": "question", "target": "b right", "choices": choices}])
    manager = TaskManager(include_path=str(path.parent), include_defaults=False)
    [task] = manager.load([path.stem])["tasks"].values()
    document = task.test_docs()[0]
    scored = task.doc_to_choice(document)
    target = task.doc_to_target(document)
    position = target if isinstance(target, int) else scored.index(target)
    assert position == 1
    assert "right" in scored[position].split("wrong")[0]


OTHER = TaskConfig(
    name="mood", source=SourceConfig(path="mood.csv"), inputs={"message": "text"}, target="mood", output="label",
    instruction="Which mood: {labels}?",
)  # fmt: skip


@pytest.mark.heavy
def test_another_task_is_answered_by_the_likeliest_label(place: Path) -> None:
    Path("mood.csv").write_text("text,mood\n" + "".join(f"line {n},{('good', 'bad')[n % 2]}\n" for n in range(30)))
    local = LocalModel.load(Path("artifacts/model"), None, MODEL)
    found = measure_unseen_task(local, OTHER, 12, 0)
    assert (found.task, found.n) == ("mood", 12)
    assert found == measure_unseen_task(local, OTHER, 12, 0)
    right = 0
    for n in sorted(range(2, 32), key=lambda line: hashlib.sha256(f"0:{line}".encode()).hexdigest())[:12]:
        messages = [Message("system", "Which mood: bad, good?"), Message("user", f"line {n - 2}")]
        prompt = tuple(encode(local.tokenizer, messages))
        scores = local.loglikelihoods(
            [ScoringRequest(prompt, tuple(encode_answer(local.tokenizer, label))) for label in ("bad", "good")]
        )
        right += (scores[1].log_likelihood > scores[0].log_likelihood) == (n % 2 == 0)
    assert found.accuracy == right / 12
    written = read_json(run(replace(CONFIG, other=OTHER, other_examples=12)) / "metrics.json")
    assert written["other"] == {"task": "mood", "accuracy": right / 12, "n": 12}
    assert read_json(run() / "metrics.json")["other"] is None


def test_another_task_that_cannot_be_scored_is_one_error(place: Path) -> None:
    local = LocalModel.load(Path("artifacts/model"), None, MODEL)
    with pytest.raises(DataError, match=r"mood.csv is missing"):
        measure_unseen_task(local, OTHER, 12, 0)
    Path("mood.csv").write_text("text,moods\nhello,good\n")
    with pytest.raises(DataError, match=r"no column 'mood', which benchmark\.other names; did you mean 'moods'"):
        measure_unseen_task(local, OTHER, 12, 0)
    with pytest.raises(ConfigError, match=r"benchmark\.other: mood cannot be scored: a label task is needed"):
        measure_unseen_task(local, replace(OTHER, output="text"), 12, 0)


def test_speed_is_measured_on_as_many_requests_as_the_settings_say(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first request that nothing is learned from; then one at a time; then together, read and answered."""
    calls: list[int] = []
    tiny = LocalModel.load(tiny_model, None, MODEL)
    generate = tiny.generate_tokens
    monkeypatch.setattr(
        tiny, "generate_tokens", lambda prompts, how: calls.append(len(prompts)) or generate(prompts, how)
    )
    found = measure_speed(tiny, 3, 4, 0)
    assert calls == [1, 1, 1, 1, 4, 4]
    assert found.latency_input_tokens == 256
