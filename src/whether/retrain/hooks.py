"""What happens after a promotion: a command, a webhook. Their failures are reported and undo nothing."""

import os
import subprocess
from pathlib import Path
from typing import Any

from whether.config import RetrainConfig


def after_promotion(settings: RetrainConfig, bundle: Path, arm: str, summary: dict[str, Any]) -> list[str]:
    """Run the hooks and return what went wrong, a sentence each."""
    problems = []
    if settings.after_promotion:
        words = {"{bundle}": str(bundle.resolve()), "{arm}": arm}
        command = [_filled(part, words) for part in settings.after_promotion]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=settings.hook_timeout, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if done.returncode:
                said = (done.stderr or done.stdout).strip()[-200:]
                problems.append(f"after_promotion: {command[0]} ended with status {done.returncode}: {said}")
        except subprocess.TimeoutExpired:
            problems.append(f"after_promotion: {command[0]} took more than {settings.hook_timeout:g} s and was ended")
        except OSError as error:
            problems.append(f"after_promotion: {command[0]} cannot be run: {error.strerror}")
    if settings.webhook_env:
        problems += _webhook(settings, summary)
    return problems


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


def _filled(part: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        part = part.replace(name, value)
    return part
