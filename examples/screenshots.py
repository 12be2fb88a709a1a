"""What a reviewer sees in MLflow, as pictures: the pages of a real server, in headless Chromium.

    make run                                             # once: records, and MLflow's database
    pip install -c constraints.txt -e '.[screenshots]'   # Playwright, which drives the browser
    python examples/screenshots.py                       # docs/mlflow/*.png, of mlflow.db
    python examples/screenshots.py --uri http://127.0.0.1:5000 --folder pages

Without --uri it starts `mlflow server` on a free port over the database in params.yaml, and stops it again. Chromium is
found as chromium, chromium-browser or google-chrome, or named by --browser.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow import MlflowClient
from PIL import Image

from whether import entry
from whether.config import BASE, load
from whether.tracking.arm_list import ARM_LIST
from whether.tracking.markdown import VIEW
from whether.tracking.models import model_name
from whether.tracking.reading import experiment_name

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1500, "height": 950}
SEEN = {
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.assistant.panelOpen_v1": "false",
    "_mlflow_model_registry_promo_modal_dismissed_v1": "true",
}
"""What the browser remembers of an earlier visit: MLflow greets nobody twice."""
SETTLED = 2.0
"""A page is complete when its text has not changed for so many seconds."""
COLOURS = 128
ARMS = quote("tags.`whether.kind` = 'arm'")
BY_ACCURACY = "orderByKey=" + quote("metrics.`test/accuracy`", safe="") + "&orderByAsc=false"
"""Another order than by time, in which MLflow lists runs flat."""
PATIENCE = 45
"""Seconds that a server or a page gets."""


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uri", help="a tracking server that runs already")
    parser.add_argument("--folder", type=Path, default=Path("docs/mlflow"))
    parser.add_argument("--browser", default=next(filter(shutil.which, BROWSERS), None))
    options = parser.parse_args()
    entry.prepare_process()
    if options.browser is None:
        sys.exit(f"no browser: install one of {', '.join(BROWSERS)}, or name one with --browser")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it is an extra
    except ImportError:
        sys.exit("Playwright is not installed: pip install -c constraints.txt -e '.[screenshots]'")
    options.folder.mkdir(parents=True, exist_ok=True)
    with running(options.uri) as uri, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which(options.browser), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        remembered = (f"localStorage.setItem({json.dumps(key)}, {json.dumps(value)});" for key, value in SEEN.items())
        page.add_init_script("".join(remembered))
        for name, place in pages(uri).items():
            take(page, f"{uri}/#/{place}", options.folder / f"{name}.png")
            print(options.folder / f"{name}.png")
        browser.close()


@contextmanager
def running(uri: str | None) -> Iterator[str]:
    """Yield the address of a server."""
    if uri:
        yield uri.rstrip("/")
        return
    store = load().tracking.uri
    if not store.startswith("sqlite:///") or not Path(store.removeprefix("sqlite:///")).is_file():
        sys.exit(f"{store} is no database here: run `make run` first, or name a server with --uri")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mlflow", "server", "--backend-store-uri", store, "--artifacts-destination", "mlartifacts"]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def wait_until_up(uri: str, server: "subprocess.Popen[bytes]") -> None:
    """Return when the server answers; exit if it does not."""
    for _ in range(PATIENCE * 2):
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=2).close()  # noqa: S310 - our own server
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                sys.exit("the MLflow server ended; `make ui` says why")
            time.sleep(0.5)
        else:
            return
    sys.exit(f"the MLflow server did not answer within {PATIENCE} seconds")


def pages(uri: str) -> dict[str, str]:
    """Return the pages of the last pipeline run, by the name of their picture."""
    client, name = MlflowClient(uri), experiment_name(load())
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        sys.exit(f"{uri} has no experiment {name}: run `whether publish`")
    number = experiment.experiment_id
    newest = ["attributes.start_time DESC"]
    parents = client.search_runs([number], "tags.`whether.kind` = 'pipeline'", max_results=1, order_by=newest)
    if not parents:
        sys.exit(f"{name} has no pipeline run: run `whether publish`")
    [parent] = parents
    below = client.search_runs([number], f"tags.mlflow.parentRunId = '{parent.info.run_id}'", max_results=500)
    arms = {run.info.run_name: run for run in below if run.data.tags["whether.kind"] == "arm"}
    tuned = [run for run in below if run.data.tags["whether.kind"] == "checkpoint" and run.info.run_name != BASE]
    best = sorted(arms, key=lambda name: -arms[name].data.metrics.get("test/accuracy", 0))
    shown = [parent.data.tags["recommended_arm"], *(name for name in best if name.startswith(BASE))][:3]
    some = quote(json.dumps([arms[name].info.run_id for name in shown if name in arms]))
    home, model = f"experiments/{number}", quote(model_name(parent.data.tags["task"]))
    found = {
        "runs": f"{home}/runs?{VIEW}",
        "arm_list": f"{home}/runs?viewStateShareKey={ARM_LIST}&{VIEW}",
        "pipeline_run": f"{home}/runs/{parent.info.run_id}?{VIEW}",
        "arms": f"{home}/runs?searchFilter={ARMS}&{BY_ACCURACY}&{VIEW}",
        "arms_compared": f"{home}/runs?compareRunsMode=CHART&searchFilter={ARMS}&{BY_ACCURACY}&{VIEW}",
        "arms_by_setting": f"compare-runs?runs={some}&experiments={quote(json.dumps([number]))}&{VIEW}",
        "outputs_side_by_side": f"{home}/runs?compareRunsMode=ARTIFACT&searchFilter={ARMS}&{BY_ACCURACY}&{VIEW}",
        "prompts": "prompts",
        "models": "models",
        "model": f"models/{model}",
        "model_version": f"models/{model}/versions/1",
    }
    if shown[0] in arms:
        found["traces"] = f"{home}/runs/{arms[shown[0]].info.run_id}/traces?{VIEW}"
    if tuned:
        found["training"] = f"{home}/runs/{tuned[0].info.run_id}/model-metrics?{VIEW}"
    return found


def take(page: Any, url: str, file: Path) -> None:
    """Draw a page when it has settled."""
    page.goto(url, wait_until="domcontentloaded")
    page.reload(wait_until="domcontentloaded")  # addresses that differ after # alone are one page to a browser
    before, since, end = None, time.monotonic(), time.monotonic() + PATIENCE
    while time.monotonic() < min(since + SETTLED, end):
        page.wait_for_timeout(250)
        now = page.inner_text("body")
        if now != before:
            before, since = now, time.monotonic()
    with Image.open(BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(COLOURS).save(file, optimize=True)


if __name__ == "__main__":
    main()
