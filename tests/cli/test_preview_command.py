"""`whether preview` on small inputs."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from whether.cli.app import command
from whether.config import CONF
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
