"""docs/export.md: its command, then its example, word for word."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from repository import Study

from whether.cli.app import command as run
from whether.config import CONF, compose

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/export.md").read_text()


@pytest.mark.heavy
def test_the_example_runs(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    origin = yaml.safe_load((study.artifacts / "model" / "source.json").read_text())["source"]["path"]
    overrides = [
        "task=tickets",
        "task.max_new_tokens=8",
        "model=local",
        "model.name=tiny",
        "model.device=cpu",
        "model.dtype=float32",
    ]
    Path("params.yaml").write_text(compose([*overrides, f"model.source.path={origin}"], ROOT / CONF))
    command, _ = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    words = shlex.split(command)
    assert words[:2] == ["whether", "export"]
    run(words[1:])
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out  # a line, which a tiny model may leave empty


@pytest.mark.heavy
def test_the_table_names_the_files(study: Study) -> None:
    main_files = re.findall(r"`([\w.]+)`", TEXT.partition("| file |")[2].partition("\n\n")[0])
    assert {"config.json", "model.safetensors", "generation_config.json", "README.md"} <= set(main_files)
