"""`whether preview` on small inputs."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from whether.cli.app import command
from whether.config import CONF
from whether.errors import RecordError
from whether.records import Example, Task, write_json, write_jsonl

ROOT = Path(__file__).parents[2]


@pytest.mark.heavy
def test_it_shows_what_a_prompt_asks(  # noqa: PLR0917
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_model: Path,
    label_task: Task, examples: Sequence[Example],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / CONF, "conf")
    write_json(Path("artifacts/prepare/task.json"), label_task)
    write_jsonl(Path("artifacts/prepare/train.jsonl"), examples[:22])
    write_jsonl(Path("artifacts/prepare/dev.jsonl"), examples[22:])
    Path("artifacts/model").symlink_to(tiny_model)
    command(["preview", "prompts.few_shot.strategy.examples=2", "few_shot", "--rows", "2"])
    shown = capsys.readouterr().out
    assert shown.count("right answer") == 2
    assert shown.count("<|im_start|>user") == 2 * 3
    assert examples[22].inputs["text"] in shown
    with pytest.raises(
        RecordError, match=r"artifacts/prepare holds rows of tickets, not of fever: .*compose task=fever"
    ):
        command(["preview", "few_shot", "task=fever"])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("words", "command_named"),
    [
        (["few_shot"], "`whether fetch && dvc repro --single-item model prepare` makes"),
        (["few_shot", "task=fever"],
         "`python -m pipelines.compose task=fever && whether fetch && dvc repro --single-item model prepare` makes"),
    ],
)  # fmt: skip
def test_without_rows_it_names_the_quickest_way_to_them(
    words: list[str], command_named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / CONF, "conf")
    with pytest.raises(RecordError, match=r"^artifacts/prepare/task.json is missing: a preview needs") as caught:
        command(["preview", *words])
    assert command_named in str(caught.value)
