"""The model card says what the records say, and nothing that is in them can break it."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from repository import Study

from whether.errors import RecordError
from whether.export.card import card
from whether.export.facts import CardData, read_card_data
from whether.metrics.catalogue import catalogue
from whether.metrics.format import compact_interval, format_value
from whether.model.loading import load_tokenizer
from whether.printing.markdown import code, escaped, fenced, without_paths
from whether.records import Verdict, read_json, write_json

TABLES = MarkdownIt("commonmark").enable("table")


def facts_of(study: Study, dtype: str = "float32") -> CardData:
    return read_card_data("lora", study.config, study.artifacts, dtype)


def written(study: Study, facts: CardData | None = None) -> str:
    return card(facts or facts_of(study), load_tokenizer(study.artifacts / "model"))


def blocks(text: str, language: str) -> list[str]:
    return [token.content for token in TABLES.parse(text) if token.type == "fence" and token.info == language]


def test_the_front_matter_is_what_the_hub_reads(study: Study) -> None:
    verdict = read_json(study.artifacts / "compare" / "verdict.json", Verdict)
    data = ModelCard(written(study)).data
    assert (data.license, data.base_model, data.library_name) == ("mit", "tiny", "transformers")
    assert data.tags == ["whether", "lora", "tickets"]
    found = {(result.dataset_type, result.metric_name): result for result in data.eval_results}
    accuracy = verdict.arms["lora-zero_shot"].metrics["accuracy"]
    result = found["tickets", "accuracy with the prompt zero_shot"]
    assert (result.metric_value, result.dataset_split) == (accuracy.value, "test")
    assert result.metric_args == {
        "prompt": "zero_shot", "ci_low": accuracy.ci_low, "ci_high": accuracy.ci_high, "n": accuracy.n,
    }  # fmt: skip
    assert found["bigbench", "retention"].metric_value == 0.2
    assert {result.dataset_type for result in data.eval_results} == {"tickets", "bigbench"}


def test_the_text_says_the_numbers_of_the_records(study: Study) -> None:
    text = written(study)
    metrics = read_json(study.artifacts / "finetune" / "lora" / "metrics.json")
    verdict = read_json(study.artifacts / "compare" / "verdict.json", Verdict)
    for arm in ("lora-zero_shot", "base-zero_shot"):
        measured = verdict.arms[arm].metrics["accuracy"]
        value, interval = (
            form("accuracy", row, catalogue(verdict))
            for form, row in ((format_value, measured.value), (compact_interval, measured))
        )
        assert f"| `{arm}` | {value} ({interval})" in text
    assert re.search(r"`lora-zero_shot` minus `base-zero_shot`, accuracy: [+−]?\d.*p = .* on 18 paired examples", text)
    for number in ("trained_tokens", "computed_tokens"):
        assert f"{metrics[number]:,}" in text
    assert "33 train, 9 dev, 18 test" in text
    assert "| dates | 10 | 30.0% | 20.0% |" in text
    assert "change against base: −10.0 points" in text
    assert verdict.provenance.data_hash in text
    settings = yaml.safe_load(blocks(text, "yaml")[0])
    assert settings["checkpoints"]["lora"]["tuner"]["adapter"]["r"] == 4
    assert "transformers 5" in text
    assert str(study.root) not in text


def test_the_code_of_the_card_runs(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(written(study), "python")
    exec(block.replace('folder = "."', 'folder = "artifacts/model"'), {})
    assert capsys.readouterr().out.strip()
    shown = blocks(written(study), "text")[0]
    prompt = (study.artifacts / "generate" / "lora-zero_shot" / "prompt.txt").read_text()
    assert shown.partition("<message>")[0] == prompt[: len(shown.partition("<message>")[0])]


def test_what_was_not_measured_is_said_to_be_so(study: Study) -> None:
    shutil.rmtree(study.artifacts / "compare")
    text = written(study)
    assert ModelCard(text).data.eval_results is None
    assert "How good it is on test was not measured." in text
    assert "Not measured: the arms of this checkpoint were not compared." in text
    assert re.search(r"### General ability kept\n+Not measured\.", text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "other"}, "other examples"),
        ({"arms": {}}, "other checkpoints than lora"),
    ],
)
def test_a_verdict_on_something_else_is_left_out(
    study: Study, change: dict[str, object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = study.artifacts / "compare" / "verdict.json"
    write_json(file, json.loads(file.read_text()) | change)
    assert facts_of(study).verdict is None
    assert f"left out of the card, for it was made from: {reason}" in caplog.text


@pytest.mark.heavy
def test_a_verdict_that_dvc_knows_to_be_old_is_left_out(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    def dvc(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)

    dvc("init", "--no-scm")
    deps = ["artifacts/finetune", "artifacts/score"]
    stage = {"cmd": "true", "deps": deps, "outs": [{"artifacts/compare": {"persist": True}}]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"compare": stage}}))
    dvc("commit", "--force")
    assert facts_of(study).verdict is not None
    file = study.artifacts / "finetune" / "lora" / "checkpoint" / "checkpoint.json"
    file.write_text(file.read_text() + "\n")
    assert facts_of(study).verdict is None
    assert "made from: an earlier artifacts/finetune. Run `dvc repro`" in caplog.text


def test_params_of_another_task_are_refused(study: Study) -> None:
    config = replace(study.config, task=replace(study.config.task, name="reviews"))
    with pytest.raises(RecordError, match=r"holds the task tickets, and params.yaml says reviews: run `whether run`"):
        read_card_data("lora", config, study.artifacts, "float32")


HOSTILE = "a|b ``` `x` </script><img src=x> [l](http://e.example) *b* _i_ # h\n---\nevil: true {{ 7*7 }} \\ \"q\" 'é'"


def test_hostile_names_and_texts_break_nothing(study: Study) -> None:
    facts = facts_of(study)
    assert facts.verdict is not None
    task = replace(facts.task, name=HOSTILE, instruction=HOSTILE, labels=[HOSTILE, "b"])
    config = replace(
        facts.config,
        task=replace(facts.config.task, instruction=HOSTILE, title=HOSTILE),
        model=replace(facts.config.model, licence=HOSTILE),
        benchmark=replace(facts.config.benchmark, name=HOSTILE),
    )
    checkpoint = replace(facts.checkpoint, model=HOSTILE)
    retention = {HOSTILE: next(iter((facts.retention or {}).values()))}
    hostile = replace(facts, task=task, config=config, checkpoint=checkpoint, retention=retention)
    text, plain = written(study, hostile), written(study, facts)

    def structure(card: str) -> list[str]:
        """Kinds of blocks and cells in order, with the number of code spans left out."""
        return [token.type for token in TABLES.parse(ModelCard(card).text)]

    assert structure(text) == structure(plain)
    assert ModelCard(text).data.license == "other"
    assert "evil" not in ModelCard(text).data.to_dict()
    (block,) = blocks(text, "python")
    names: dict[str, object] = {}
    exec(re.search(r"messages = \[.*?\n\]", block, re.DOTALL)[0], names)  # type: ignore[index]
    assert names["messages"][0]["content"] == HOSTILE  # type: ignore[index]
    assert yaml.safe_load(blocks(text, "yaml")[0])["task"]["instruction"] == HOSTILE
    html = TABLES.render(ModelCard(text).text)
    assert "<img" not in html
    assert "<script" not in html
    assert "49" not in re.sub(r"[0-9a-f]{40,}", "", html.partition("<h2>Use")[0])


@pytest.mark.parametrize("text", ["`", "``a``", "a|b", " x ", "", "`|`"])
def test_code_shows_what_it_was_given(text: str) -> None:
    html = TABLES.render(f"|h|\n|---|\n|{code(text)}|\n")
    shown = re.search(r"<td><code>(.*)</code></td>", html)
    assert shown
    assert shown[1].strip() == text.strip()
    assert TABLES.parse(fenced(f"a\n```\n{text}", "x"))[0].content.startswith(f"a\n```\n{text}".rstrip("\n"))


def test_text_is_only_text() -> None:
    assert TABLES.render(escaped("<b> *x* `y` & [z](u) # 1")) == "<p>&lt;b&gt; *x* `y` &amp; [z](u) # 1</p>\n"


def test_paths_of_this_machine_are_cut() -> None:
    settings = {"path": "/home/ann/models/mine", "other": ["~/x", "data/y", 3], "text": "/ is a slash\nand more"}
    assert without_paths(settings) == {
        "path": "<folder>/mine", "other": ["<folder>/x", "data/y", 3], "text": "/ is a slash\nand more",
    }  # fmt: skip
