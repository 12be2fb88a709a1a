"""Which program runs a model's weights where arms answer: artifacts/backend/.

backend.json    `BackendChoice`: what the stages that answer depend on
measured.json   `BackendMeasurement`: why
"""

from dataclasses import dataclass, field
from typing import Literal

Backend = Literal["engine", "vllm"]
"""This project's engine, or vLLM."""


@dataclass(frozen=True)
class BackendChoice:
    """What answers in a run."""

    backend: Backend


@dataclass(frozen=True)
class BackendSpeed:
    """How fast a backend answers on this machine."""

    load_seconds: float
    """From the start of a process to a model that is ready."""
    request_seconds: dict[str, float]
    """Prompt → seconds a request, of a sample that is asked together."""


@dataclass(frozen=True)
class BackendMeasurement:
    """Why a backend was chosen."""

    holds_for: str
    """Hash of model, precision, device, threads and versions: where it is the same, nothing is measured again."""
    reason: str
    """A sentence."""
    arm_seconds: dict[str, float] = field(default_factory=dict)
    """Backend → what the arms' answers are expected to take, with a start for each arm. Empty: nothing was measured."""
    speeds: dict[str, BackendSpeed] = field(default_factory=dict)
