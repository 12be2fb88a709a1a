"""docs/search.md: its commands are understood, and its checkpoint is one."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from whether.config import CONF, check, compose, load
from whether.search.space import Space

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/search.md").read_text()
COMMANDS = re.findall(r"^whether search (.*)$", TEXT, re.MULTILINE)


@pytest.mark.heavy
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_understood(tmp_path: Path, command: str) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(compose(conf=ROOT / CONF))
    name, *overrides = shlex.split(command)
    config = load(params, "search", overrides)
    tuner = config.checkpoints[name].tuner
    assert tuner is not None
    Space(tuner, config.search.parameters)


@pytest.mark.heavy
def test_the_checkpoint_is_one(tmp_path: Path) -> None:
    assert len(COMMANDS) == 4
    shutil.copytree(ROOT / CONF, tmp_path / "conf")
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "conf/checkpoint/lora_searched.yaml").write_text(example)
    (overrides,) = re.findall(r"^whether run (.+)$", TEXT, re.MULTILINE)
    config = check(yaml.safe_load(compose([overrides], tmp_path / "conf")))
    assert config.checkpoints["lora_searched"].tuner is not None
