from pathlib import Path

from tests.retrain.conftest import retraining_run
from whether.records import Champion, Finding, MeanScore, RetrainingRun
from whether.retrain.page import write_page
from whether.retrain.plots import plot_runs


def some_runs() -> list[RetrainingRun]:
    return [
        retraining_run(
            number,
            task="snips",
            outcome={3: "promoted", 6: "action_required"}.get(number, "no_trigger"),
            reason="lora-knn is better: +4.0 points (+1.0 to +7.0)" if number == 3 else "no trigger fired",
            champion_arm="lora-knn" if number >= 3 else "base-knn",
            champion_new=None if number == 2 else MeanScore(0.9, 0.71, 0.97, 20),
            findings=[Finding("input_drift", number == 3, "p = 0.001 that <b>words</b> differ", 10.0**number, 100.0)],
            attention=["2 rows of <label> were set aside"] if number == 6 else [],
        )
        for number in range(1, 8)
    ]


def written(tmp_path: Path, runs: list[RetrainingRun], champion: Champion | None) -> str:
    plot_runs(runs, tmp_path / "runs.svg")
    write_page(runs, champion, (tmp_path / "runs.svg").read_text(), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text()


def test_the_page_says_who_answers_and_what_runs_did(tmp_path: Path) -> None:
    champion = Champion("abcdef123456", "123456abcdef", "2026-02-03T02:00:00+00:00", 3, "It is better.")
    text = written(tmp_path, some_runs(), champion)
    for words in (
        "lora-knn answers", "abcdef123456", "90.0% (71.0% to 97.0%, 20 rows)", "promoted", "<svg", "input_drift",
        "2 rows of &lt;label&gt; were set aside", "p = 0.001 that &lt;b&gt;words&lt;/b&gt; differ",
    ):  # fmt: skip
        assert words in text
    assert text.index('<th scope="row">7') < text.index('<th scope="row">1')
    assert "http://" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )


def test_a_first_run_without_a_champion(tmp_path: Path) -> None:
    text = written(tmp_path, [retraining_run(1, task="snips")], None)
    assert "No champion yet" in text
