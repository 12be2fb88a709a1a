"""examples/minimal.py does with the tiny model what the README shows of it with the real one."""

import re
from pathlib import Path

import pytest

from examples.minimal import FOLDER, main

ROOT = Path(__file__).parents[1]
SOURCE = (ROOT / "examples/minimal.py").read_text()
README = (ROOT / "README.md").read_text()
RESULT = r"""task (\S+), model (\S+), (\d+) test examples
  base with (?:few_shot|knn) +([\d.]+)%
  lora with zero_shot +([\d.]+)%
  difference +([+−]?[\d.]+) points \(([+−]?[\d.]+) to ([+−]?[\d.]+)\), p [=<] [\d.]+
"""


@pytest.mark.heavy
def test_a_prompt_and_a_tuned_model_are_compared(
    able_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("conf", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    settings = ["model.threads=1", "task.max_new_tokens=8", "tuner.learning_rate=2e-2", "tuner.batch_size=4"]
    main(["task=tickets", "model=local", f"model.source.path={able_model}", *settings])
    printed = re.fullmatch(RESULT, capsys.readouterr().out)
    assert printed is not None
    task, model, tested, *shown = printed.groups()
    prompted, tuned, difference, low, high = (float(number.replace("−", "-")) for number in shown)
    assert (task, model) == ("tickets", "local")
    assert int(tested) == len((FOLDER / "prepare/test.jsonl").read_text().splitlines())
    assert min(prompted, tuned) > 0  # every answer is a label
    assert difference == pytest.approx(tuned - prompted, abs=0.11)
    assert low < difference < high


def test_the_readme_shows_its_code_and_its_result() -> None:
    section = README.split("## Without the pipeline\n")[1].split("\n## ")[0]
    code, result = re.findall(r"^```\w+\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = SOURCE.splitlines()
    assert {line.strip() for line in code.splitlines()} <= {line.strip() for line in lines}
    assert re.fullmatch(RESULT, result)
    assert f"in {len(lines)} lines" in section
    assert len(lines) <= 80
