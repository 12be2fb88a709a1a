"""What a baseline is fitted on, and what one is: a small model of the field that answers without a language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class LabelledTexts:
    """Inputs as they read in a prompt, and the right answer to each."""

    texts: list[str]
    targets: list[str]


@dataclass(frozen=True)
class BaselineData:
    """What there is to fit on."""

    train: LabelledTexts
    dev: LabelledTexts
    """Settings, such as the strength of regularisation, are chosen on these."""
    seed: int
    balanced: bool = False
    """Whether every label counts equally, however often it comes."""


class Baseline(Protocol):
    """A small model: a class whose settings are keyword-only arguments, named by a file of conf/baseline.

    One that was fitted is saved as numbers and text (safetensors, JSON), never as a pickle; `load` on a new one with
    the same settings brings it back.
    """

    @property
    def parameters(self) -> int:
        """Numbers that were fitted."""
        ...

    def fit(self, data: BaselineData) -> None:
        """Fit. Raises DataError for what cannot be fitted, such as a single label."""
        ...

    def answer(self, texts: Sequence[str]) -> list[str]:
        """Return an answer to each input."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was fitted into a folder that is there."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        ...
