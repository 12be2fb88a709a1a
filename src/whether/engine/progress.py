"""How far a long call has come, for the person who waits."""

from typing import Any


def progress_bar(title: str | None, total: int) -> Any:
    """Return a progress bar over prompts on standard error, silent without a title or a terminal."""
    from tqdm import tqdm

    return tqdm(total=total, desc=title, unit="prompt", disable=True if title is None else None)
