import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from references import parser

from whether.config import CONF, SourceConfig, TaskConfig, check, compose
from whether.errors import ConfigError, DataError
from whether.prepare.prepare import prepare
from whether.records import DATA, Example, Task, read_json, read_jsonl, sha256_folder
from whether.sources.bigbench import build_data

ROOT = Path(__file__).parents[2]


def shipped(name: str, folder: Path = ROOT) -> TaskConfig:
    """The task of conf/task/<name>.yaml, its rows below `folder`."""
    task = check(yaml.safe_load(compose([f"task={name}"], conf=ROOT / CONF))).task
    return replace(task, source=replace(task.source, path=str(folder / task.source.path)))


def done(task: TaskConfig, model: Path, folder: Path, seed: int = 0) -> Path:
    folder.mkdir()
    prepare(task, seed, model_folder=model, folder=folder)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> TaskConfig:
    """A label task over a CSV of our own: 2 labels, an exact and a near duplicate, a conflict."""
    words = ["sun", "rain", "snow", "wind", "fog", "hail", "storm", "frost", "heat", "cloud"]
    lines = [f"is there {word},weather" for word in words]
    lines += [f"{word} by abba,music" for word in words]
    lines += ["Is there  SUN,weather", "is there storms,music"]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return TaskConfig(
        name="t", source=SourceConfig(path=str(tmp_path / "rows.csv")), inputs={"text": "text"}, target="label",
        output="label", instruction="Which of {labels}?", max_new_tokens=64,
    )  # fmt: skip


@pytest.mark.heavy
def test_everything_that_later_stages_read_is_there(table: TaskConfig, tiny_model: Path, tmp_path: Path) -> None:
    folder = done(table, tiny_model, tmp_path / "out")
    splits = {name: read_jsonl(folder / f"{name}.jsonl", Example) for name in ("train", "dev", "test")}
    assert {name: len(examples) for name, examples in splits.items()} == {"train": 12, "dev": 2, "test": 6}
    task = read_json(folder / "task.json", Task)
    assert task.labels == ["music", "weather"]
    assert task.instruction == "Which of music, weather?"
    profile = read_json(folder / "profile.json")
    assert profile["rows"] == {
        "read": 22, "collected": 0, "bad": 0, "duplicates": 1, "not_sampled": 0, "near_duplicates": 1, "recent": 0,
        "unseen": 0, "used": 20,
    }  # fmt: skip
    assert profile["conflicts"]["count"] == 1
    assert profile["conflicts"]["first"][0] | {"inputs": None, "kept_inputs": None} == {
        "line": 23, "inputs": None, "target": "music", "kept_line": 8, "kept_inputs": None, "kept_target": "weather",
    }  # fmt: skip
    train = profile["splits"]["train"]
    assert train["majority_share"] == max(train["labels"].values()) / train["examples"]
    assert 0 < train["input_tokens"]["p50"] <= train["input_tokens"]["p95"] <= train["input_tokens"]["max"]


@pytest.mark.heavy
def test_the_same_bytes_every_time_and_others_with_another_seed(
    table: TaskConfig, tiny_model: Path, tmp_path: Path
) -> None:
    hashes = [
        sha256_folder(done(table, tiny_model, tmp_path / name, seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.heavy
def test_unseen_labels_are_left_out_of_all_but_their_own_file(
    table: TaskConfig, tiny_model: Path, tmp_path: Path
) -> None:
    path = Path(table.source.path)
    names = "piano drum flute harp cello violin oboe tuba banjo horn".split()  # noqa: SIM905
    path.write_text(path.read_text() + "".join(f"buy a {name},shop\n" for name in names))
    task = replace(table, unseen_labels=["shop"], definitions={"shop": "buys", "music": "plays"})
    folder = done(task, tiny_model, tmp_path / "out")
    whole = done(replace(task, unseen_labels=[]), tiny_model, tmp_path / "whole")
    for split in ("train", "dev", "test"):
        kept = [row for row in read_jsonl(whole / f"{split}.jsonl", Example) if row.target != "shop"]
        assert read_jsonl(folder / f"{split}.jsonl", Example) == kept
    unseen = read_jsonl(folder / "unseen.jsonl", Example)
    assert unseen == [
        row
        for split in ("dev", "test")
        for row in read_jsonl(whole / f"{split}.jsonl", Example)
        if row.target == "shop"
    ]
    assert unseen
    seen, every = read_json(folder / "task.json", Task), read_json(folder / "unseen_task.json", Task)
    assert (seen.labels, seen.instruction, seen.definitions) == (
        ["music", "weather"], "Which of music, weather?", {"music": "plays"},
    )  # fmt: skip
    assert every == read_json(whole / "task.json", Task)
    assert read_json(folder / "profile.json")["rows"]["unseen"] == len(unseen)
    assert not (whole / "unseen.jsonl").exists()


@pytest.mark.heavy
def test_a_label_with_a_dollar_sign_is_drawn_as_text(table: TaskConfig, tiny_model: Path, tmp_path: Path) -> None:
    path = Path(table.source.path)
    path.write_text(path.read_text().replace(",music", ",$a_b^$$"))
    assert "$a_b^$$" in (done(table, tiny_model, tmp_path / "out") / "label_balance.svg").read_text()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"labels": ["music", "weather", "sport"]}, DataError, "'sport' has 0"),
        ({"labels": ["music", "sport"]}, DataError, r"rows\.csv, line 2: label 'weather' is not among"),
        ({"max_new_tokens": 1}, DataError, r"line \d+: the target .* has \d+ tokens, and task\.max_new_tokens is 1"),
        ({"input_template": "{{ body }}"}, ConfigError, r"input_template.*'body' is undefined"),
        ({"output": "text"}, ConfigError, r"task\.instruction holds \{labels\}"),
        ({"unseen_labels": ["musik"]}, ConfigError, r"no row has the label 'musik'; did you mean 'music'"),
        ({"unseen_labels": ["music"]}, ConfigError, r"unseen_labels: at least two labels have to be left"),
    ],
)
def test_a_task_that_does_not_fit_its_rows_is_one_error(
    table: TaskConfig, tiny_model: Path, changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        done(replace(table, **changed), tiny_model, Path(table.source.path).parent / "out")


def test_one_class_is_nothing_to_decide(table: TaskConfig, tiny_model: Path, tmp_path: Path) -> None:
    path = Path(table.source.path)
    path.write_text("text,label\n" + "".join(f"row {number},music\n" for number in range(20)))
    with pytest.raises(DataError, match=r"every row has the label 'music'"):
        done(table, tiny_model, tmp_path / "out")


def test_fewer_rows_than_splits_need(table: TaskConfig, tiny_model: Path, tmp_path: Path) -> None:
    Path(table.source.path).write_text("text,label\none,music\ntwo,weather\n")
    with pytest.raises(DataError, match=r"each label needs 3 examples after cleaning.*'music' has 1, 'weather' has 1"):
        done(table, tiny_model, tmp_path / "out")


@pytest.mark.heavy
def test_rejected_rows_are_kept_for_the_user(table: TaskConfig, tiny_model: Path, tmp_path: Path) -> None:
    with Path(table.source.path).open("a") as stream:
        stream.write(",music\n")
    folder = done(replace(table, max_bad_rows=1), tiny_model, tmp_path / "out")
    assert [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()] == [
        {"line": 24, "reason": "the input is empty (text)", "row": {"text": "", "label": "music"}}
    ]


@pytest.mark.heavy
def test_the_example_of_the_readme_is_fifteen_lines_and_works(tiny_model: Path, tmp_path: Path) -> None:
    assert len((ROOT / "conf/task/tickets.yaml").read_text().splitlines()) <= 15
    folder = done(replace(shipped("tickets"), max_new_tokens=64), tiny_model, tmp_path / "out")
    profile = read_json(folder / "profile.json")
    assert profile["rows"]["used"] == profile["rows"]["read"] == 60
    assert profile["splits"]["test"]["labels"] == {"account": 6, "billing": 6, "technical": 6}


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds data/: the repository, or where it was not fetched yet, a temporary one."""
    if (ROOT / DATA).exists():
        return ROOT
    folder = tmp_path_factory.mktemp("fetched")
    build_data(check(yaml.safe_load(compose(conf=ROOT / CONF))).data, folder / DATA)
    return folder


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("snips", (689, 345)),
        ("snips_json", (689, 345)),
        ("negation", (600, 180)),
        ("arithmetic", (600, 180)),
        ("fever", (691, 207)),
    ],
)
def test_shipped_tasks_prepare_and_their_targets_count_as_right(
    real_model: Path, fetched: Path, tmp_path: Path, name: str, counts: tuple[int, int]
) -> None:
    folder = done(shipped(name, fetched), real_model, tmp_path / "out")
    profile = read_json(folder / "profile.json")
    assert profile["rows"]["bad"] == 0
    assert (profile["rows"]["used"], profile["splits"]["test"]["examples"]) == counts
    parse = parser(read_json(folder / "task.json", Task))
    examples = read_jsonl(folder / "test.jsonl", Example)
    assert {parse(example.target, example.target).score for example in examples} == {1.0}
