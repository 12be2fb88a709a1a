"""`whether verdict` on real git, DVC and a synthetic study."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.compare.synthetic_study import REALISTIC, ROOT, settings, write_study
from whether.cli.app import command
from whether.compare.compare import compare
from whether.config import CONF, compose, write_params
from whether.errors import RecordError, TrackingError, UsageError
from whether.records import output_folder

QUICK = ("policy.resamples=500", "prompt=[zero_shot,few_shot,knn]", "checkpoint=[base,lora]")


def study(folder: Path, accuracies: dict[str, float]) -> None:
    """Write the records of a study and its verdict."""
    artifacts = write_study(folder / "artifacts", accuracies=accuracies)
    with output_folder(artifacts / "compare") as out:
        compare(settings(*QUICK), artifacts=artifacts, folder=out)


@pytest.mark.real
def test_the_command_reads_a_revision_from_dvcs_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in ("git init -q", "git config user.email a@b.c", "git config user.name a", "dvc init -q"):
        subprocess.run(line.split(), check=True)
    write_params(compose(QUICK, conf=ROOT / CONF))
    for name, accuracies in (("first", REALISTIC), ("second", REALISTIC | {"lora-zero_shot": 0.7})):
        study(tmp_path, accuracies)
        for line in (
            "dvc stage add -q -f -n compare -o artifacts/compare true",
            "dvc commit -q -f",
            "git add -A",
            f"git commit -qm {name}",
            f"git tag {name}",
        ):
            subprocess.run(line.split(), check=True)
    capsys.readouterr()
    command(["verdict", "--json", "--against", "first"])
    printed = json.loads(capsys.readouterr().out)
    assert {row["arm"]: row["conclusion"] for row in printed["changes"]["arms"]}["lora-zero_shot"] == "worse"
    command(["verdict", "--rev", "first", "--json"])
    assert json.loads(capsys.readouterr().out)["arms"]["lora-zero_shot"]["metrics"]["accuracy"]["value"] > 0.85
    command(["verdict", "--markdown", "--against", "artifacts/compare"])
    assert "The verdict is the same" in capsys.readouterr().out
    command(["verdict", "--against", "first"])
    assert "Since the earlier verdict" in capsys.readouterr().out
    command(["verdict", "--history", "5", "--json"])
    history = json.loads(capsys.readouterr().out)
    assert [row["arms"]["lora-zero_shot"]["metrics"]["accuracy"]["value"] > 0.85 for row in history] == [False, True]
    command(["verdict", "--history", "5", "--markdown"])
    assert capsys.readouterr().out.count("| 20") == 2
    command(["verdict", "--history", "5", "--page", "trend.html"])
    page = Path("trend.html").read_text()
    assert page.count("Arm by arm") == 1
    assert "<b>lora-zero_shot</b>: worse" in page
    assert "2 verdicts of" in page
    with pytest.raises(TrackingError, match=r"mlflow\.db is not there: nothing was published to it"):
        command(["verdict", "--against", "runs:/abc"])
    with pytest.raises(RecordError, match="nowhere: no verdict can be read"):
        command(["verdict", "--against", "nowhere"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--history 0", "--history.*greater than or equal to 1"),
        ("--history 3 --rev main", "--history and --rev exclude each other"),
        ("--json --markdown", "--json and --markdown exclude each other"),
        ("--page trend.html", "--page goes with --history"),
    ],
)
def test_options_that_do_not_go_together(words, said):
    with pytest.raises(UsageError, match=said):
        command(["verdict", *words.split()])
