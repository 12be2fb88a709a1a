"""What a machine says of itself, also where it is not Linux."""

import os

import pytest

from whether.finetune.finetune import set_threads
from whether.model.info import cpu_count


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)  # noqa: ARG005
    assert cpu_count() == 3


def test_without_an_affinity_they_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert cpu_count() == 5
    before = torch.get_num_threads()
    try:
        set_threads(None)
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu_count() == 1
