"""docs/decoding.md, word for word: its examples run one after another, in a folder with a model."""

import re
from pathlib import Path

import pytest

from whether.config import CONF, compose
from whether.records import Task, write_json

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/decoding.md").read_text()


@pytest.mark.heavy
def test_the_examples_run(
    tiny_model: Path,
    label_task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    sections = re.findall(r"^## .*", TEXT, re.MULTILINE)
    assert len(blocks) == len(sections), "an introduction and one for each section but the last"
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/model").symlink_to(tiny_model)
    (tmp_path / "params.yaml").write_text(compose(["model.threads=1"], ROOT / CONF))
    write_json(tmp_path / "artifacts/prepare/task.json", label_task)
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) >= 3
    assert set(printed[-2:]) <= set(label_task.labels)
