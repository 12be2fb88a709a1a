"""The user's commands and addresses: one that fetches rows when a run starts, others that a promotion is reported to.

An error after a promotion is reported and undoes nothing.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whether.config import RetrainConfig
from whether.errors import EngineError


def collect(settings: RetrainConfig, since: str) -> None:
    """Run the command that fetches rows. Raises EngineError where it fails, which then is the run's reason."""
    if not settings.collect:
        return
    inbox = Path(settings.inbox)
    inbox.mkdir(parents=True, exist_ok=True)
    problem = _run("collect", settings.collect, {"{inbox}": str(inbox), "{since}": since}, settings.collect_timeout)
    if problem:
        raise EngineError(problem)


def after_promotion(settings: RetrainConfig, bundle: Path, arm: str, summary: dict[str, Any]) -> list[str]:
    """Run the hooks and return what went wrong, a sentence each."""
    problems = []
    if settings.after_promotion:
        words = {"{bundle}": str(bundle.resolve()), "{arm}": arm}
        problem = _run("after_promotion", settings.after_promotion, words, settings.hook_timeout)
        problems += [problem] if problem else []
    if settings.webhook_env:
        problems += _webhook(settings, summary)
    return problems


def _run(name: str, parts: Sequence[str], words: dict[str, str], timeout: float) -> str:
    """Run a command and return what went wrong; "" for nothing."""
    command = [_substitute(part, words) for part in parts]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"{name}: {command[0]} took more than {timeout:g} s and was ended"
    except OSError as error:
        return f"{name}: {command[0]} cannot be run: {error.strerror}"
    output = (done.stderr or done.stdout).strip()[-200:]
    return f"{name}: {command[0]} ended with status {done.returncode}: {output}" if done.returncode else ""


def _webhook(settings: RetrainConfig, summary: dict[str, Any]) -> list[str]:
    import httpx2

    address = os.environ.get(str(settings.webhook_env))
    if not address:
        return [f"webhook_env: {settings.webhook_env} is not set in the environment"]
    try:
        answer = httpx2.post(address, json=summary, timeout=settings.hook_timeout)
        answer.raise_for_status()
    except httpx2.HTTPStatusError as error:  # the address may hold a secret: it is not shown
        return [f"webhook: the address in {settings.webhook_env} answers {error.response.status_code}"]
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return [f"webhook: the address in {settings.webhook_env} cannot be reached ({type(error).__name__})"]
    return []


def _substitute(part: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        part = part.replace(name, value)
    return part
