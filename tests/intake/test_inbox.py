"""What is done with rows that arrive."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from workbooks import write_workbook

from whether.config import CONF, SourceConfig, TaskConfig, check, compose
from whether.errors import DataError, RecordError
from whether.intake import inbox
from whether.intake.describe import attention_messages
from whether.prepare.collected import read_collected
from whether.prepare.prepare import prepare
from whether.prepare.rows import example_id
from whether.records import Example, Quarantined, read_json, read_jsonl
from whether.retrain.evidence import observed_rows

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
WEATHER = ("sun", "rain", "snow", "wind", "fog", "hail", "storm", "frost", "heat", "cloud")
SONGS = ("waterloo", "fernando", "chiquitita", "mamma", "dancing", "money", "super", "eagle", "one", "voulez")
SPORT = ("a goal in the last minute", "who won", "three sets to love", "offside again", "the relay team")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A label task with 20 rows, an empty inbox, and everything that the job keeps in its own folder."""
    monkeypatch.chdir(tmp_path)
    lines = [f"is there {word},weather" for word in WEATHER]
    lines += [f"{song} by abba,music" for song in SONGS]
    Path("rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    task = TaskConfig(
        name="my_task", source=SourceConfig(path="rows.csv"), inputs={"text": "text"}, target="label", output="label",
        instruction="Which of {labels}?", max_new_tokens=64,
    )  # fmt: skip
    Path("inbox").mkdir()
    whole = check(yaml.safe_load(compose([], conf=ROOT / CONF)))
    return replace(whole, task=task, retrain=replace(whole.retrain, min_label_rows=6))


def collected():
    return read_collected(Path("data/collected/my_task.jsonl"))


def deliver(name, *rows):
    Path("inbox", name).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def take_in(config, number=1, now=NOW):
    plan = inbox.plan_intake(config, number, now)
    inbox.apply_intake(plan, config, number)
    return plan.counts


def quarantined():
    files = sorted(Path("retrain/quarantine").glob("*.jsonl"))
    return [row for file in files for row in read_jsonl(file, Quarantined)]


def test_rows_of_every_kind(config):
    deliver(
        "a.jsonl",
        {"text": "will it thunder", "label": "weather"},
        {"text": "play thriller", "label": None},
        {"text": "is there sun", "label": "weather"},
        {"text": "is  there rain", "label": "music"},
        {"text": "", "label": "music"},
        {"label": "music"},
        "not json",
        ["a list"],
        {"text": "will it  thunder", "label": "weather"},
        {"text": ["x"], "label": "music"},
    )
    deliver("b.csv", "text,label", "play bad,music", "one,two,three", "play nothing,", '"play, comma",music')
    counts = take_in(config)
    assert (counts.files, counts.labelled, counts.unlabelled, counts.duplicates, counts.quarantined) == (2, 3, 2, 2, 7)
    assert [row.reason for row in quarantined()] == [
        "these inputs are known with the answer 'weather', and this row says 'music'",
        "the input is empty (text)",
        "column 'text' is missing; known: label",
        "not JSON: Expecting value at column 1",
        "a JSON object with the columns was expected, and it is '[\"a list\"]'",
        "column 'text' holds a list, and text was expected",
        "3 fields, and the header has 2 (text, label); put a field that holds a comma or a line break in double quotes",
    ]
    assert [(row.line, row.text) for row in quarantined()][3] == (7, "not json")
    rows = [row for row in collected() if row.destination != "duplicate"]
    assert [row.row["text"] for row in rows] == [
        "will it thunder", "play thriller", "play bad", "play nothing", "play, comma",
    ]  # fmt: skip
    assert [row.destination == "unlabelled" for row in rows] == [False, True, False, True, False]
    assert not list(Path("inbox").iterdir())
    assert {file.name for file in Path("retrain/taken/000001").iterdir()} == {"a.jsonl", "b.csv"}


def test_of_many_unlabelled_rows_a_draw_by_hash_of_run_and_inputs_is_kept(config):
    config = replace(config, retrain=replace(config.retrain, max_unlabelled_rows=5, triggers={}))
    texts = [f"play number {number}" for number in range(30)]
    deliver("a.jsonl", *({"text": text} for text in texts), {"text": "will it thunder", "label": "weather"})
    counts = take_in(config)
    assert (counts.labelled, counts.unlabelled, counts.sampled_out) == (1, 30, 25)
    smallest = sorted(texts, key=lambda text: sha256(f"1:{example_id({'text': text})}:1".encode()).digest())
    assert {row.row["text"] for row in collected()} == {"will it thunder", *smallest[:5]}

    deliver("b.jsonl", *({"text": f"sing number {number}"} for number in range(8)))
    assert take_in(config, 2).sampled_out == 3
    assert [sum(row.run == number for row in collected()) for number in (1, 2)] == [6, 5]

    deliver("c.jsonl", {"text": smallest[0], "label": "music"}, {"text": smallest[-1], "label": "music"})
    counts = take_in(config, 3)
    assert (counts.labelled, counts.duplicates, counts.sampled_out) == (2, 0, 0)
    assert {file.name for file in Path("retrain/taken").rglob("*.jsonl")} == {"a.jsonl", "b.jsonl", "c.jsonl"}


def test_inputs_that_come_again_are_arrivals_for_drift_only(config, tiny_model, tmp_path):
    """Of a source that repeats its frequent texts, the new ones of a run alone would be its rare ones."""
    known = len(observed_rows(config, []))
    deliver(
        "a.jsonl",
        {"text": "will it thunder", "label": "weather"},
        {"text": "will  it thunder "},
        {"text": "is there rain", "label": "weather"},  # in the task's own file
        {"text": "is there rain", "label": "weather"},
        {"text": "play thriller"},
    )
    counts = take_in(config)
    assert (counts.labelled, counts.unlabelled, counts.duplicates) == (1, 1, 3)
    repeats = [row for row in collected() if row.destination == "duplicate"]
    assert [(row.row["text"], row.labelled_in_run) for row in repeats] == [
        ("will  it thunder ", None), ("is there rain", 1), ("is there rain", 1),
    ]  # fmt: skip
    items = observed_rows(config, collected())[known:]
    assert sorted((item.text, item.label, item.is_duplicate) for item in items) == sorted(
        [("will it thunder", "weather", False), ("play thriller", None, False), ("will  it thunder ", None, True)]
        + 2 * [("is there rain", "weather", True)],
        key=str,
    )
    assert all(item.run == 1 for item in items)
    prepare(config.task, 0, model_folder=tiny_model, folder=tmp_path / "out")
    splits = ("train", "dev", "test")
    rows = [row.inputs["text"] for name in splits for row in read_jsonl(tmp_path / "out" / f"{name}.jsonl", Example)]
    assert len(rows) == len(set(rows))

    deliver("b.jsonl", {"text": "play thriller", "label": "music"}, {"text": "will it thunder"})
    counts = take_in(config, 2)
    assert (counts.labelled, counts.duplicates) == (1, 1)
    assert [row.run for row in collected() if row.destination == "duplicate"] == [1, 1, 1, 2]


def test_a_run_that_reads_a_file_again_doubles_no_arrival(config):
    lines = [
        {"text": "will it thunder", "label": "weather"},
        *3 * [{"text": "will it thunder"}],
        {"text": "is there rain"},
    ]
    deliver("a.jsonl", *lines)
    take_in(config)
    first = collected()
    assert len(first) == 5
    deliver("a.jsonl", *lines)
    take_in(config)
    assert collected() == first
    deliver("a.jsonl", *lines)
    take_in(config, 2)
    assert len(collected()) == 10


def test_the_same_run_again_changes_nothing(config):
    rows = [{"text": f"play number {number}", "label": "music"} for number in range(30)]
    deliver("a.jsonl", *rows, "broken")
    plan = inbox.plan_intake(config, 1, NOW)
    first = [(row.id, row.destination) for row in plan.rows]
    # Killed after the rows were written and before the file left the inbox.
    inbox.apply_intake(replace(plan, files=[]), config, 1)
    assert take_in(config).labelled == 0
    assert [(row.id, row.destination) for row in collected()] == first
    assert len(quarantined()) == 1
    assert not list(Path("inbox").iterdir())


def test_shares_and_the_window(config):
    config = replace(config, retrain=replace(config.retrain, holdout_rows=40))
    deliver("a.jsonl", *({"text": f"play number {number}", "label": "music"} for number in range(400)))
    take_in(config)
    counts = {name: sum(row.destination == name for row in collected()) for name in ("train", "dev", "holdout")}
    assert counts["holdout"] == 40
    assert 40 <= counts["dev"] <= 80  # 15% of 400
    first = {row.id for row in collected() if row.destination == "holdout"}
    deliver("b.jsonl", *({"text": f"sing number {number}", "label": "music"} for number in range(40)))
    take_in(config, 2, NOW + timedelta(days=1))
    later = {row.id: row.destination for row in collected()}
    assert sum(place == "holdout" for place in later.values()) == 40
    assert {later[name] for name in first} == {"train", "holdout"}


def test_split_by_time_holds_the_newest_out(config):
    config = replace(config, retrain=replace(config.retrain, split="time", time="at", dev=0.0))
    rows = [{"text": f"play number {n}", "label": "music", "at": f"2026-02-{n:02d}"} for n in range(1, 21)]
    deliver("a.jsonl", *rows)
    take_in(config)
    held_out = [row.row["at"] for row in collected() if row.destination == "holdout"]
    assert len(held_out) in (5, 6, 7)
    assert min(held_out) > max(row.row["at"] for row in collected() if row.destination == "train")


def test_times(config):
    config = replace(config, retrain=replace(config.retrain, time="at"))
    deliver(
        "a.jsonl",
        {"text": "one", "label": "music", "at": "2026-02-01T10:00:00+02:00"},
        {"text": "two", "label": "music", "at": "2027-01-01"},
        {"text": "three", "label": "music", "at": "yesterday"},
        {"text": "four", "label": "music"},
    )
    take_in(config)
    assert [row.received for row in collected()] == ["2026-02-01T08:00:00+00:00"]
    assert [row.reason for row in quarantined()] == [
        "column 'at' is '2027-01-01', which is later than this machine's clock",
        "column 'at' is 'yesterday', and a time such as 2026-01-31T08:00:00Z was expected",
        "the time is missing (at)",
    ]


def test_a_label_comes_to_a_known_row(config):
    deliver("a.jsonl", {"text": "play thriller"}, {"text": "play bad", "label": "music"})
    take_in(config)
    deliver("b.jsonl", {"text": "play thriller", "label": "music"})
    assert take_in(config, 2).labelled == 1
    (row, _) = collected()
    assert (row.run, row.labelled_in_run) == (1, 2)
    assert row.destination in ("train", "dev", "holdout")


def test_a_label_never_seen_waits_until_there_are_enough(config, tiny_model, tmp_path):
    deliver("a.jsonl", *({"text": text, "label": "sport"} for text in SPORT))
    counts = take_in(config)
    assert (counts.labelled, counts.below_min_label_rows, counts.new_labels) == (5, 5, [])
    assert {row.destination for row in collected()} == {"pending"}
    deliver("b.jsonl", {"text": "a match", "label": "sport"})
    counts = take_in(config, 2)
    assert (counts.below_min_label_rows, counts.new_labels) == (0, ["sport"])
    places = [row.destination for row in collected()]
    assert places.count("train") >= 2
    assert {"train", "dev", "holdout"} == set(places)

    (tmp_path / "out").mkdir()
    prepare(config.task, 0, model_folder=tiny_model, folder=tmp_path / "out")
    assert read_json(tmp_path / "out/task.json")["labels"] == ["music", "sport", "weather"]
    read = {name: read_jsonl(tmp_path / f"out/{name}.jsonl", Example) for name in ("train", "dev", "test", "recent")}
    assert "sport" in {row.target for row in read["train"]}
    assert "sport" not in {row.target for row in read["test"]}
    assert sum(row.target == "sport" for rows in read.values() for row in rows) == 6


def test_a_label_that_the_settings_do_not_list_is_set_aside(config):
    config = replace(config, task=replace(config.task, labels=["music", "weather"]))
    deliver("a.jsonl", {"text": "goal", "label": "sport"}, {"text": "play bad", "label": "music"})
    counts = take_in(config)
    assert counts.unknown_labels == {"sport": 1}
    assert [row.reason for row in quarantined()] == [
        "label 'sport' is not among task.labels: add it to conf/task, or correct the row, and put it into the inbox"
        " again"
    ]


@pytest.mark.heavy
def test_the_test_split_never_changes(config, tiny_model, tmp_path):
    def test_rows(name):
        (tmp_path / name).mkdir()
        prepare(config.task, 0, model_folder=tiny_model, folder=tmp_path / name)
        return (tmp_path / name / "test.jsonl").read_bytes()

    before = test_rows("before")
    near = json.loads(before.splitlines()[0])["inputs"]["text"] + "s"
    more = [{"text": f"play {song}, then {other}", "label": "music"} for song in SONGS for other in WEATHER]
    deliver("a.jsonl", *more, {"text": near, "label": "music"})
    take_in(config)
    assert test_rows("after") == before
    train = read_jsonl(tmp_path / "after/train.jsonl", Example)
    assert len(train) > len(read_jsonl(tmp_path / "before/train.jsonl", Example))
    assert near not in {row.inputs["text"] for row in train}


def test_other_files_are_left_and_reported(config):
    for name in (".hidden.jsonl", "half.jsonl.part", "notes.txt"):
        Path("inbox", name).write_text("{}\n")
    Path("inbox/parts.parquet").mkdir()
    plan = inbox.plan_intake(config, 1, NOW)
    (message,) = attention_messages(plan, Path("retrain"), "t")
    assert message.startswith(
        "not taken out of the inbox: half.jsonl.part, notes.txt, parts.parquet. Files are taken in"
    )
    assert ".csv" in message
    assert take_in(config).files == 0
    assert len(list(Path("inbox").iterdir())) == 4
    assert not Path("data").exists()


def test_files_of_every_kind_are_taken_in(config):
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["play parquet"], "label": ["music"]}), "inbox/A.PARQUET")
    Path("inbox/b.CSV").write_text("text;label\nplay b;music\n")
    Path("inbox/c.json").write_text('[{"text": "play c", "label": "music"}]')
    Path("inbox/d.tsv").write_bytes("text\tlabel\nplay d\tmusic\n".encode("utf-16"))
    Path("inbox/e.jsonl.gz").write_bytes(gzip.compress(b'{"text": "play e", "label": "music"}\n', mtime=0))
    counts = take_in(config)
    assert (counts.files, counts.labelled, counts.quarantined) == (5, 5, 0)
    assert [row.row for row in collected()] == [
        {"text": f"play {name}", "label": "music"} for name in ("parquet", "b", "c", "d", "e")
    ]
    assert not list(Path("inbox").iterdir())


def test_a_file_that_holds_no_rows_is_set_aside_once(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    Path("inbox/a.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    Path("inbox/b.parquet").write_bytes(b"PAR1")
    Path("inbox/c.csv").write_bytes("text,catégorie\nplay c,music\n".encode("latin-1"))
    write_workbook(Path("inbox/d.xlsx"), {"s": [["text", "label"], ["play d", "music"]]})
    counts = take_in(config)
    assert (counts.files, counts.labelled, counts.unlabelled, counts.quarantined) == (4, 0, 0, 4)
    for row, reason in zip(quarantined(), ("git lfs pull", "not a Parquet file", "not UTF-8", "[excel]"), strict=True):
        assert reason in row.reason
    assert not list(Path("inbox").iterdir())


def test_a_label_column_of_nearly_the_right_name_makes_no_unlabelled_rows(config, caplog):
    for number, name in enumerate(("Label", "label ", "LABEL", " label", "_label_")):
        deliver(f"{number}.csv", f"text,{name}", f"play {number},music")
    deliver("5.jsonl", {"text": "play 5", "Label": "music"}, {"text": "play 6", "label": None, "Label": "music"})
    deliver("6.csv", "text,queue", "play 7,music")
    with caplog.at_level("INFO", "whether"):
        counts = take_in(config)
    assert (counts.labelled, counts.unlabelled, counts.quarantined) == (0, 2, 6)
    assert quarantined()[0].reason == "column 'label' is missing, and 'Label' is there: rename it, or correct the task"
    assert (
        "6.csv has rows without the column 'label', which count as unlabelled; their columns are 'text', 'queue'"
        in (caplog.text)
    )


def test_another_spelling_of_a_label_is_no_new_class(config):
    deliver("a.csv", "text,label", "play bad,Music", "play good,MUSIC", "a goal,Sport", "a match,sport", "a set,Sport")
    counts = take_in(config)
    assert (counts.labelled, counts.quarantined) == (2, 3)
    assert {row.reason.partition(" only by ")[0] for row in quarantined()} == {
        "label 'Music' differs from 'music'",
        "label 'MUSIC' differs from 'music'",
        "label 'sport' differs from 'Sport'",
    }


def test_collected_rows_of_before_have_numbers_in_one_spelling(config):
    deliver("a.jsonl", *({"text": f"play {number}", "label": "7"} for number in range(6)))
    take_in(config)
    file = Path("data/collected/my_task.jsonl")
    file.write_text(file.read_text().replace('"label": "7"', '"label": 7.0'))
    assert {row.row["label"] for row in collected()} == {7}
    deliver("b.jsonl", {"text": "play more", "label": 7})
    counts = take_in(config, 2)
    assert (counts.labelled, counts.quarantined, counts.below_min_label_rows) == (1, 0, 0)


def test_a_task_that_collected_rows_do_not_fit_is_one_error(config):
    deliver("a.jsonl", {"text": "play bad", "label": "music", "who": "x"})
    take_in(config)
    config = replace(config, task=replace(config.task, inputs={"text": "text", "place": "place"}))
    Path("rows.csv").write_text("text,label,place\n" + "".join(f"{word},weather,x\n" for word in WEATHER))
    with pytest.raises(DataError, match=r"my_task\.jsonl: column 'place' is missing.*did conf/task change"):
        inbox.plan_intake(config, 2, NOW)


def test_a_number_is_one_class_however_it_is_written(config):
    Path("rows.csv").write_text("text,label\n" + "".join(f"{word},{n % 2}.0\n" for n, word in enumerate(WEATHER)))
    deliver("a.jsonl", {"text": "one", "label": 1}, {"text": "two", "label": "1.0"}, {"text": "three", "label": "01"})
    counts = take_in(config)
    assert (counts.labelled, counts.quarantined) == (2, 1)
    assert quarantined()[0].reason.startswith("label '1' differs from '1.0' only by ")


def test_a_template_that_fails_for_a_row_sets_it_aside(config):
    config = replace(config, task=replace(config.task, target="{{ label.split(': ')[1] }}", labels=None))
    Path("rows.csv").write_text("text,label\n" + "".join(f"{word},is: weather\n" for word in WEATHER))
    deliver(
        "a.jsonl",
        {"text": "one", "label": "is: music"},
        {"text": "two", "label": "music"},
        {"text": "three", "label": ""},
        {"text": "four"},
        {"text": "five", "Label": "is: music"},
    )
    counts = take_in(config)
    assert (counts.labelled, counts.unlabelled, counts.quarantined) == (1, 2, 2)
    assert [(row.line, row.reason) for row in quarantined()] == [
        (2, "task.target: list object has no element 1"),
        (5, "column 'label' is missing, and 'Label' is there: rename it, or correct the task"),
    ]


def test_values_without_json_are_kept_readable(config):
    Path("inbox/a.jsonl").write_text(
        '{"text": "play one", "label": "music", "n": 1e999, "s": "cut \\ud83d", "x": NaN}\n'
        '{"text": "cut \\ud83d", "label": "music"}\n'
        '{"text": "play two", "label": 1e999, "d": 1.0}\n'
    )
    counts = take_in(config)
    assert (counts.labelled, counts.quarantined) == (1, 2)
    assert [row.row for row in collected()] == [
        {"text": "play one", "label": "music", "n": "Infinity", "s": "cut \ufffd", "x": None}
    ]
    assert [(row.line, row.row) for row in quarantined()] == [
        (2, {"text": "cut \ufffd", "label": "music"}),
        (3, {"text": "play two", "label": "Infinity", "d": 1}),
    ]


def test_a_target_that_is_too_long_is_set_aside_when_it_arrives(config, tiny_model):
    Path("artifacts").mkdir()
    Path("artifacts/model").symlink_to(tiny_model)
    config = replace(config, task=replace(config.task, output="text", max_new_tokens=64))
    deliver("a.jsonl", {"text": "one", "label": "word " * 100}, {"text": "two", "label": "word"})
    counts = take_in(config)
    assert (counts.labelled, counts.quarantined) == (1, 1)
    assert "tokens, and task.max_new_tokens is 64" in quarantined()[0].reason


def test_rows_for_drift_only_are_bounded_over_all_runs(config):
    config = replace(config, retrain=replace(config.retrain, max_unlabelled_rows=5, max_drift_rows=12, triggers={}))
    deliver("0.jsonl", {"text": "will it thunder", "label": "weather"})
    take_in(config)
    for run in range(2, 7):
        deliver(f"{run}.jsonl", *({"text": f"play {run} {number}"} for number in range(5)))
        take_in(config, run)
    kept = [row.run for row in collected()]
    assert [kept.count(run) for run in range(1, 7)] == [1, 0, 0, 2, 5, 5]
    before = collected()
    deliver("6.jsonl", *({"text": f"play 6 {number}"} for number in range(5)))
    take_in(config, 6)
    assert collected() == before


def test_an_inbox_that_is_a_file(config):
    Path("inbox").rmdir()
    Path("inbox").write_text("")
    with pytest.raises(RecordError, match="inbox is a file"):
        inbox.plan_intake(config, 1, NOW)


def test_a_broken_csv_and_bytes_that_are_not_text(config):
    lines = [
        b"text,label",
        b"play bad,music",
        b"\xff\xfe,music",
        b"play good,music",
        b'"never closed,music',
        b"x,y",
        b"",
    ]
    Path("inbox/a.csv").write_bytes(b"\n".join(lines))
    counts = take_in(config)
    assert (counts.labelled, counts.quarantined) == (2, 2)
    assert [row.line for row in quarantined()] == [3, 5]
    assert quarantined()[1].text == '"never closed,music\nx,y\n'


def test_withdraw(config):
    deliver("a.jsonl", {"text": "play bad", "label": "music"})
    take_in(config)
    deliver("b.jsonl", {"text": "play good", "label": "weather"})
    take_in(config, 2)
    assert inbox.withdraw(config, [2], 3) == 1
    assert [row.row["text"] for row in collected()] == ["play bad"]
    assert quarantined()[0].reason == "withdrawn after run 2"
    assert inbox.withdraw(config, [2], 3) == 0
