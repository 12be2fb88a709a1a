"""Nine weeks of retraining: SNIPS arrives in weekly batches, drifts, and once comes with wrong labels.

    make demo-drift          about 16 minutes on 2 cores; draws build/demo-drift/demo_drift.svg

The task starts with five intents. From the fourth week on two new intents come, and people write differently. In the
seventh week labels are wrong, and are withdrawn afterwards. Each week the job runs as a scheduler would run it, in a
clone of this repository at build/demo-drift/work. Started again, it continues where it stopped.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from whether.records import read_runs
from whether.retrain.plots import plot_runs

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "build" / "demo-drift"
WORK = DEMO / "work"
NEW = ("rate_book", "search_creative_work")
WEEKS = 9
DRIFT, WRONG = 4, 7
"""Week from which on rows differ, and week in which labels are wrong."""
TIMES = [f"2026-{month:02d}-{day:02d}T02:00:00+00:00" for month in (1, 2, 3, 4) for day in (5, 12, 19, 26)]


def main() -> None:
    """Prepare the data, execute the retraining runs, plot them."""
    if not (WORK / "drift_source.jsonl").exists():
        set_up()
    weeks = batches()
    for week in range(WEEKS + 1):
        if week < len(read_runs(WORK / "retrain")):
            continue
        deliver(week, weeks)
        print(f"--- week {week}: {len(weeks[week])} rows arrive", flush=True)
        run_week(week)
        if week == WRONG:
            print("--- someone looks at the refused challenger, and withdraws that week's rows", flush=True)
            in_work("pipelines.retrain", "experiment=demo_drift", "action=withdraw", f"run={week + 1}")
    draw(without_retraining(weeks))
    for run in read_runs(WORK / "retrain"):
        print(f"week {run.number - 1:2d}  {run.outcome:10s}  {run.reason[:150]}")
    print(
        f"\npicture  {(DEMO / 'demo_drift.svg').relative_to(ROOT)}\nMLflow   mlflow ui --backend-store-uri sqlite:///{WORK.relative_to(ROOT)}/mlflow.db"
    )


def set_up() -> None:
    """Clone this repository as it is committed, with its data and DVC's cache."""
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(WORK)], check=True)
    in_work("dvc", "cache", "dir", "--quiet", "--local", str(ROOT / ".dvc" / "cache"))
    in_work("whether.cli", "fetch")
    rows = [{"week": TIMES[0], **row} for row in drawn()[0]]
    (WORK / "drift_source.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def drawn() -> tuple[list[dict[str, str]], list[list[dict[str, str]]]]:
    """Return the rows that the task starts with, and those of each week."""
    lines = (WORK / "data/bigbench/intent_recognition.jsonl").read_text().splitlines()
    by_intent: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        row = json.loads(line)
        by_intent.setdefault(row["target"], []).append({"input": row["input"], "target": row["target"]})
    for rows in by_intent.values():
        random.Random(0).shuffle(rows)
    old = sorted(by_intent.keys() - set(NEW))

    def take(counts: dict[str, int]) -> list[dict[str, str]]:
        rows = [by_intent[name].pop() for name, count in counts.items() for _ in range(count)]
        random.Random(len(rows)).shuffle(rows)
        return rows

    source = take(dict.fromkeys(old, 36))
    weeks: list[list[dict[str, str]]] = [[]]
    for week in range(1, WEEKS + 1):
        if week < DRIFT:
            weeks.append(take(dict.fromkeys(old, 4)))
            continue
        rows = take(dict.fromkeys(old, 6) | dict.fromkeys(NEW, 12))
        rows = [row | {"input": f"hey bot pls {row['input'].lower()} thx"} for row in rows]
        if week == WRONG:
            labels = sorted({row["target"] for row in rows})
            rows = [row | {"target": labels[(labels.index(row["target"]) + 1) % len(labels)]} for row in rows]
        weeks.append(rows)
    return source, weeks


def batches() -> list[list[dict[str, str]]]:
    """Return the rows of each week, with their time."""
    return [[{"week": TIMES[week], **row} for row in rows] for week, rows in enumerate(drawn()[1])]


def deliver(week: int, weeks: list[list[dict[str, str]]]) -> None:
    """Put a week's file into the inbox, as another system would: under a temporary name first."""
    inbox = WORK / "inbox"
    inbox.mkdir(exist_ok=True)
    if weeks[week] and not list((WORK / "retrain" / "taken").glob(f"*/week-{week:02d}.jsonl")):
        part = inbox / f".week-{week:02d}.part"
        part.write_text("".join(json.dumps(row) + "\n" for row in weeks[week]))
        part.rename(inbox / f"week-{week:02d}.jsonl")


def run_week(week: int) -> None:
    """Run the job once, at that week's time."""
    in_work("pipelines.retrain", "experiment=demo_drift", f"now={TIMES[week]}")


def without_retraining(weeks: list[list[dict[str, str]]]) -> list[float | None]:
    """Return the share of each week's rows that the first champion answers correctly."""
    first = str(read_runs(WORK / "retrain")[0].champion)
    rows = WORK / "build" / "all_weeks.jsonl"
    rows.parent.mkdir(exist_ok=True)
    everything = [row for week in weeks for row in week]
    rows.write_text("".join(json.dumps(row) + "\n" for row in everything))
    out = in_work("whether.cli", "predict", str(rows.relative_to(WORK)), "--bundle", first, capture=True)
    answers = [json.loads(line)["answer"] for line in out.splitlines()]
    right = iter(answer == row["target"] for answer, row in zip(answers, everything, strict=True))
    return [sum(next(right) for _ in week) / len(week) if week else None for week in weeks]


def draw(first: list[float | None]) -> None:
    """Plot the retraining runs, with the first champion's quality next to the champion's."""
    plot_runs(read_runs(WORK / "retrain"), DEMO / "demo_drift.svg", unchanged=first)


def in_work(module: str, *arguments: str, capture: bool = False) -> str:
    """Run one of our commands in the clone; one that fails ends the demo."""
    environment = os.environ | {"PYTHONPATH": f"{WORK / 'src'}{os.pathsep}{WORK}"}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, cwd=WORK, env=environment, text=True, stdout=subprocess.PIPE if capture else None, check=False
    )
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command[1:])} ended with status {done.returncode}")
    return done.stdout or ""


if __name__ == "__main__":
    main()
