"""The whole pipeline, and the verdict in the terminal.

    python -m pipelines.run [override ...]     compose, fetch, `dvc repro`, publish, show
    python -m pipelines.run --report           print where the report is

What `dvc repro` does, with settings from the command line, data fetched first and the result shown at the end.
"""

import os
import subprocess
import sys

from whether import entry
from whether.config import check, compose, write_params
from whether.errors import RecordError
from whether.records import ARTIFACTS, Verdict, read_json
from whether.report.terminal import print_verdict

REPORT = ARTIFACTS / "report" / "report.html"
VERDICT = ARTIFACTS / "compare" / "verdict.json"


def main(argv: list[str]) -> int:
    """Run everything that is not up to date."""
    if argv == ["--report"]:
        if not REPORT.exists():
            raise RecordError(f"{REPORT} is not there yet: `make run` makes it")
        print(REPORT.resolve())
        return 0
    import yaml

    from whether.sources.fetch import fetch_all
    from whether.tracking.candidates import registered_arms
    from whether.tracking.publish import publish

    text = compose(argv)
    config = check(yaml.safe_load(text))
    fetch_all(config)
    write_params(text)
    status = repro()
    if status:
        return status
    # The stage `publish` ran already or came from the cache; a server or database that was away then is caught up here.
    receipt = publish(config, ARTIFACTS, registered_arms(config, ARTIFACTS), strict=False)
    verdict = read_json(VERDICT, Verdict)
    print_verdict(verdict)
    print(f"\nreport   {REPORT}\nverdict  {VERDICT}\nMLflow   `make ui`, then http://127.0.0.1:5000")
    model = receipt.models.get(verdict.recommended_arm or "")
    if model:
        print(f'model    mlflow.pyfunc.load_model("models:/{model}")')
    return 0


def repro() -> int:
    """Run `dvc repro` on the settings just composed; its own messages say what failed."""
    environment = os.environ | {"WHETHER_COMPOSED": "1"}
    return subprocess.run([sys.executable, "-m", "dvc", "repro"], env=environment, check=False).returncode


if __name__ == "__main__":
    entry.run(main)
