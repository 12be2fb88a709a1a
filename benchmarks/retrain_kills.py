"""The retraining job killed at random moments (kill -9), repeatedly: is anything lost, doubled or broken?

    python benchmarks/retrain_kills.py [--kills 30] [--seed 0] [--json]       about half an hour on 2 cores

Real DVC, git and MLflow with a tiny model. Before each kill new rows arrive and a challenger is asked for; the job is
killed at a moment drawn from its whole length, and run again to its end. A kill counts as survived if right after it
there is one champion whose bundle is complete, on disk and in MLflow's registry, if the next run succeeds, every row
that ever arrived is there once, the inbox is empty, the runs are numbered without a gap, and the registry's champion
is the one that answers. --json prints one object: kills, survived.
"""

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.conftest import make_tiny_model
from tests.retrain.workplace import Workplace, rows
from whether.bundle.bundle import load_bundle
from whether.errors import WhetherError


def main() -> int:
    """Kill and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of rows and moments")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args()
    drawn = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "work").mkdir()
        place = Workplace(Path(scratch) / "work", make_tiny_model(Path(scratch) / "tiny"))
        first = place.job()
        if first.status:
            sys.exit(f"the first run ends with status {first.status}: {first.out}{first.err[-2000:]}")
        arrived = place.lines("data/collected/mine.jsonl")
        texts = [line["row"]["text"] for line in arrived]
        length, survived = usual_length(place, texts), 0
        for number in range(options.kills):
            fresh = rows(4, 1000 + number)
            texts += [row["text"] for row in fresh]
            place.write(f"inbox/{number}.jsonl", fresh)
            moment = drawn.uniform(0, length)
            process = place.start("force=true")
            try:
                process.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
            step = step_of(place)
            problem = champion_problem(place) or registry_problem(place) or next_run_problem(place, texts)
            problem = problem or registry_problem(place, champion=place.champion()["champion"])
            survived += not problem
            if not options.json:
                print(f"{number + 1:3d}  after {moment:5.1f} s, {step}: {problem or 'survived'}", flush=True)
    if options.json:
        print(json.dumps({"kills": options.kills, "survived": survived}))
    else:
        print(f"{survived} of {options.kills} survived")
    return int(survived < options.kills)


def usual_length(place: Workplace, texts: list[str]) -> float:
    """Return how many seconds an undisturbed run with a challenger takes."""
    fresh = rows(4, 999)
    texts += [row["text"] for row in fresh]
    place.write("inbox/usual.jsonl", fresh)
    start = time.time()
    place.job("force=true")
    return time.time() - start


def step_of(place: Workplace) -> str:
    """Return the step that a kill came in."""
    note = place.path / "retrain" / "holder.json"
    return str(json.loads(note.read_text()).get("step", "lock")) if note.exists() else "before or after the lock"


def champion_problem(place: Workplace) -> str:
    """Return what is wrong with the champion; "" for nothing."""
    done = place.job("action=status")
    return "" if done.status == 0 else f"no champion: {done.err.strip().splitlines()[-1]}"


def registry_problem(place: Workplace, champion: str | None = None) -> str:
    """Return what is wrong with the alias champion in MLflow's registry, which must name `champion` if that is given;
    "" for nothing."""
    with sqlite3.connect(place.path / "mlflow.db") as database:
        query = (
            "select v.source from registered_model_aliases a join model_versions v on v.name = a.name and"
            " v.version = a.version where a.alias = 'champion' and a.name = 'whether-mine'"
        )
        named = [Path(source.removeprefix("file://")) for (source,) in database.execute(query)]
        query = (
            "select t.value from registered_model_aliases a join model_version_tags t on t.name = a.name and"
            " t.version = a.version where a.alias = 'champion' and t.key = 'whether.bundle'"
        )
        bundles = [value for (value,) in database.execute(query)]
    if len(named) != 1:
        return f"the alias champion names {len(named)} versions"
    try:
        load_bundle(named[0] / "artifacts" / "bundle")
    except WhetherError as error:
        return f"the registered champion is not complete: {error}"
    return "" if champion in (None, *bundles) else f"the registry's champion is {bundles}, and {champion} answers"


def next_run_problem(place: Workplace, texts: list[str]) -> str:
    """Return what is wrong after the next run; "" for nothing."""
    done = place.job("force=true")
    if done.status:
        return f"the next run ends with status {done.status}: {done.err.strip().splitlines()[-1]}"
    found = [line["row"]["text"] for line in place.lines("data/collected/mine.jsonl")]
    if sorted(found) != sorted(texts):
        return f"{len(set(texts) - set(found))} rows lost, {len(found) - len(set(found))} doubled"
    if list((place.path / "inbox").iterdir()):
        return "the inbox is not empty"
    numbers = [run["number"] for run in place.lines("retrain/runs.jsonl")]
    return "" if numbers == list(range(1, len(numbers) + 1)) else "the runs have gaps"


if __name__ == "__main__":
    sys.exit(main())
