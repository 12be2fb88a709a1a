"""How long does MLflow take to be told, and does its list of runs stay usable?

    python benchmarks/publish.py [--arms 1000] [--examples 500] [--runs 200] [--json]
    python benchmarks/publish.py --quick                    60 arms, 20 pipeline runs: some minutes

A real server with a database of its own is told of one verdict with so many arms, each with the answers to so many
examples, and then of so many pipeline runs of six arms. Records are written as the stages write them, with made-up
numbers. Requests are counted in the server's log. --json prints one object: arms, seconds_per_arm, requests_per_arm,
runs, seconds_first_runs, seconds_last_runs (medians of ten), list_seconds (the user interface's first page of runs).
"""

import argparse
import json
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tracking"))

import httpx2
import synthetic_records
import yaml
from synthetic_records import CREATED, Records

from whether import entry
from whether.config import Config, check, compose
from whether.tracking.candidates import registered_arms
from whether.tracking.publish import publish

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=1000)
    parser.add_argument("--examples", type=int, default=500, help="test examples that each arm answers")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="60 arms of 200 examples, 20 runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    given = parser.parse_args()
    if given.quick:
        given.arms, given.examples, given.runs = 60, 200, 20
    entry.prepare_process()
    with tempfile.TemporaryDirectory() as scratch, server(Path(scratch)) as (uri, log):
        found = many_arms(Path(scratch), uri, log, given.arms, given.examples)
        found |= many_runs(Path(scratch), uri, given.runs)
    if given.json:
        print(json.dumps(found))
        return
    print(f"one verdict of {found['arms']} arms with {given.examples} examples each:")
    print(f"  {found['seconds_per_arm']:.2f} s and {found['requests_per_arm']:.1f} requests an arm")
    print(f"{found['runs']} pipeline runs of six arms:")
    print(f"  {found['seconds_first_runs']:.1f} s each at first, {found['seconds_last_runs']:.1f} s in the end")
    print(f"  the first page of the list of runs: {found['list_seconds']:.2f} s")


def many_arms(scratch: Path, uri: str, log: Path, arms: int, examples: int) -> dict[str, Any]:
    """Tell of one verdict."""
    settings = check(yaml.safe_load(compose(["curve=none"], ROOT / "conf")))
    prompt = settings.prompts["zero_shot"]
    names = [f"p{number:04d}" for number in range(arms // 2)]
    synthetic_records.QUALITY |= dict.fromkeys(names, (0.2, 0.9))
    settings = replace(
        settings,
        prompts=dict.fromkeys(["zero_shot", *names[1:]], prompt),
        arms=replace(settings.arms, prompt=["zero_shot", *names[1:]]),
    )
    records = Records(scratch / "arms", settings)
    first = records.examples["test"][0]
    records.examples["test"] = [replace(first, id=f"test-{number}") for number in range(examples)]
    records.write_all()
    before, start = len(requests(log)), time.perf_counter()
    config = records.tracked_at(uri)
    publish(config, records.artifacts, registered_arms(config, records.artifacts))
    seconds = time.perf_counter() - start
    count = 2 * len(settings.prompts)
    asked = len(requests(log)) - before
    return {"arms": count, "seconds_per_arm": seconds / count, "requests_per_arm": asked / count}


def many_runs(scratch: Path, uri: str, runs: int) -> dict[str, Any]:
    """Tell of one pipeline run after another."""
    settings: Config = check(yaml.safe_load(compose(["curve=none"], ROOT / "conf")))
    records = Records(scratch / "runs", settings)
    records.write_all()
    config, seconds = records.tracked_at(uri, experiment="many-runs"), []
    for number in range(runs):
        for checkpoint in settings.checkpoints:
            records.write_finetune(checkpoint, number)
            for prompt in settings.prompts:
                records.write_arm(checkpoint, prompt, number)
        records.write_verdict(CREATED + timedelta(days=number))
        start = time.perf_counter()
        publish(config, records.artifacts, registered_arms(config, records.artifacts))
        seconds.append(time.perf_counter() - start)
    found = httpx2.get(f"{uri}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": "many-runs"}).json()
    body = {
        "experiment_ids": [found["experiment"]["experiment_id"]],
        "max_results": 100,
        "order_by": ["start_time DESC"],
    }
    start = time.perf_counter()
    httpx2.post(f"{uri}/api/2.0/mlflow/runs/search", json=body, timeout=600).raise_for_status()
    listed = time.perf_counter() - start
    part = max(1, min(10, runs // 2))
    return {
        "runs": runs, "seconds_first_runs": statistics.median(seconds[:part]),
        "seconds_last_runs": statistics.median(seconds[-part:]), "list_seconds": listed,
    }  # fmt: skip


def requests(log: Path) -> list[str]:
    """Return the lines of requests in a server's log."""
    return re.findall(r'"(?:GET|POST|PUT|PATCH|DELETE) /api.*', log.read_text(encoding="utf-8", errors="replace"))


@contextmanager
def server(scratch: Path) -> Any:
    """Run an MLflow server; yield its address and its log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = scratch / "server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{scratch}/mlflow.db",
        "--artifacts-destination",
        f"{scratch}/artifacts",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=scratch)
    try:
        for _ in range(600):
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/health").is_success:
                    break
            except httpx2.TransportError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


if __name__ == "__main__":
    main()
