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
    """A label task over a CSV of our own: 2 labels, an equal row, near-duplicates of one label and of both."""
    words = ["sun", "rain", "snow", "wind", "fog", "hail", "storm", "frost", "heat", "cloud"]
    lines = [f"is there {word},weather" for word in words]
    lines += [f"{word} by abba,music" for word in words]
    lines += ["is there  sun,weather", "is there storms,music", "Is there SUN,weather"]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return TaskConfig(
        name="t", source=SourceConfig(path=str(tmp_path / "rows.csv")), inputs={"text": "text"}, target="label",
        output="label", instruction="Which of {labels}?", max_new_tokens=64,
    )  # fmt: skip


@pytest.mark.heavy
def test_everything_that_later_stages_read_is_there(table: TaskConfig, tiny_model: Path, tmp_path: Path) -> None:
    folder = done(table, tiny_model, tmp_path / "out")
    splits = {name: read_jsonl(folder / f"{name}.jsonl", Example) for name in ("train", "dev", "test")}
    assert {name: len(examples) for name, examples in splits.items()} == {"train": 12, "dev": 4, "test": 6}
    task = read_json(folder / "task.json", Task)
    assert task.labels == ["music", "weather"]
    assert task.instruction == "Which of music, weather?"
    profile = read_json(folder / "profile.json")
    assert profile["rows"] == {
        "read": 23, "collected": 0, "bad": 0, "duplicates": 1, "other_split": 0, "not_sampled": 0, "recent": 0,
        "unseen": 0, "used": 22,
    }  # fmt: skip
    assert profile["left_out"]["duplicates"]["first"] == [
        {"line": 22, "inputs": {"text": "is there  sun"}, "target": "weather", "like_line": 2}
    ]
    near = profile["near_duplicates"]
    assert (near["rows"], near["groups"], near["largest"], near["different_answers"]) == (4, 2, 2, 1)
    assert profile["units"]["test"] <= profile["splits"]["test"]["examples"]
    where = {row.inputs["text"]: (name, row.group) for name, rows in splits.items() for row in rows}
    assert where["is there storm"] == where["is there storms"] != where["is there sun"] == where["Is there SUN"]
    assert where["is there fog"][1] is None
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
def test_equal_inputs_with_different_answers_are_kept_together_and_told(
    table: TaskConfig, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(table.source.path)
    path.write_text(path.read_text() + "rain by abba,weather\nfog by abba,weather\n")
    folder = done(replace(table, near_duplicate=1.0), tiny_model, tmp_path / "out")
    splits = {name: read_jsonl(folder / f"{name}.jsonl", Example) for name in ("train", "dev", "test")}
    both = [(name, row) for name, rows in splits.items() for row in rows if row.inputs["text"] == "rain by abba"]
    assert {row.target for _, row in both} == {"music", "weather"}
    assert len({name for name, _ in both}) == len({row.group for _, row in both}) == 1
    assert len({row.id for rows in splits.values() for row in rows}) == 24
    conflicts = read_json(folder / "profile.json")["conflicts"]
    assert (conflicts["count"], conflicts["rows"], conflicts["ceiling"]) == (2, 4, 22 / 24)
    assert conflicts["first"][0]["answers"] == [{"line": 13, "target": "music"}, {"line": 25, "target": "weather"}]
    assert "2 inputs have different answers, such as 'rain by abba' (line 13: music, line 25: weather)" in caplog.text
    assert "no model can get more than 91.7% of the rows right" in caplog.text


@pytest.mark.heavy
def test_more_than_a_tenth_left_out_is_a_warning(
    table: TaskConfig, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(table.source.path)
    path.write_text(path.read_text() + "sun by abba,music\n" * 3 + ",music\n")
    folder = done(replace(table, max_bad_rows=1), tiny_model, tmp_path / "out")
    (warning,) = read_json(folder / "profile.json")["warnings"]
    assert warning.startswith(
        "5 of 27 rows (19%) were left out of the data: 1 set aside as bad (rejected.jsonl); 4 equal"
    )
    assert f"WARNING: {warning}" in caplog.text
    assert "left out: 4 equal inputs and equal answer as an earlier row; such as line 22, like line 2" in caplog.text


@pytest.mark.heavy
def test_a_sample_is_counted_and_no_warning(table: TaskConfig, tiny_model: Path, tmp_path: Path) -> None:
    profile = read_json(done(replace(table, max_rows=12), tiny_model, tmp_path / "out") / "profile.json")
    assert profile["rows"]["not_sampled"] == profile["left_out"]["not_sampled"]["count"] == 10
    assert profile["warnings"] == []


@pytest.mark.heavy
def test_rows_of_a_template_are_told_and_are_not_one_group(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [
        f"What is {a} times {b}?,{'even' if a * b % 2 == 0 else 'odd'}" for a in range(11, 21) for b in range(31, 39)
    ]
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    task = TaskConfig(
        name="t", source=SourceConfig(path=str(path)), inputs={"text": "text"}, target="label", output="label",
        instruction="Which of {labels}?", max_new_tokens=64,
    )  # fmt: skip
    profile = read_json(done(task, tiny_model, tmp_path / "out") / "profile.json")
    (template,) = profile["near_duplicates"]["templates"]
    assert template["rows"] == profile["rows"]["used"] == 80
    assert profile["near_duplicates"]["largest"] <= 8
    assert any("template: 80 rows such as 'What is 11 times 31?'" in note for note in profile["notes"])
    assert {name: split["examples"] for name, split in profile["splits"].items()} == {
        "train": 44,
        "dev": 12,
        "test": 24,
    }


@pytest.mark.heavy
def test_rejected_rows_are_kept_for_the_user(table: TaskConfig, tiny_model: Path, tmp_path: Path) -> None:
    with Path(table.source.path).open("a") as stream:
        stream.write(",music\n")
    folder = done(replace(table, max_bad_rows=1), tiny_model, tmp_path / "out")
    assert [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()] == [
        {"line": 25, "reason": "the input is empty (text)", "row": {"text": "", "label": "music"}}
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
        ("snips", (693, 431)),
        ("snips_json", (693, 430)),
        ("negation", (600, 180)),
        ("arithmetic", (600, 180)),
        ("fever", (700, 210)),
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
