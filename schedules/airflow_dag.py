"""Retraining as an Airflow DAG (2.7 or newer): copy into the dags folder of a worker that has the repository.

The task's exit status is the job's: 75 (another job is at work) skips, 3 (action required) fails without another
try, 1 is tried again.
"""

import os
import subprocess
from datetime import datetime, timedelta

try:
    from airflow.sdk import dag, task
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
except ImportError:  # Airflow before 3.2
    from airflow.decorators import dag, task
    from airflow.exceptions import AirflowFailException, AirflowSkipException

WORK = os.environ.get("WHETHER_WORK", "/srv/whether")


@dag(
    dag_id="whether_retrain",
    schedule="17 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10), "execution_timeout": timedelta(hours=12)},
    tags=["whether"],
)
def whether_retrain() -> None:
    """One task: the job itself resumes where it was stopped, so smaller tasks would gain nothing."""

    @task
    def retrain() -> str:
        done = subprocess.run(
            [f"{WORK}/.venv/bin/python", "-m", "pipelines.retrain", "tracking=server"],
            cwd=WORK, text=True, stdout=subprocess.PIPE, check=False,
        )  # fmt: skip
        if done.returncode == 75:
            raise AirflowSkipException("another retraining job is at work")
        if done.returncode == 3:
            raise AirflowFailException(f"action required: {done.stdout}")
        done.check_returncode()
        return done.stdout.strip().splitlines()[-1]

    retrain()


whether_retrain()
