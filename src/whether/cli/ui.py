"""`whether ui`: MLflow's pages, with what runs have published."""

import os
import sys

from whether.config import load
from whether.printing.secrets import without_credentials


def show_runs(port: int) -> None:
    """Become the server of MLflow's pages for an embedded database, until Ctrl-C; of a server, print its address."""
    uri = load().tracking.uri
    if uri.startswith(("http://", "https://")):
        print(f"the runs are on a server: {without_credentials(uri)}")
        return
    words = ["ui", "--backend-store-uri", uri, "--artifacts-destination", "mlartifacts"]
    words += ["--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *words])  # noqa: S606 - no shell is meant
