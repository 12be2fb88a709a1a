"""Formats asked in one call answer as each by itself; one that the model refuses leaves the others their answers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from references import model_config

from whether.engine.local import LocalModel
from whether.generate.generate import generate_formats
from whether.generate.load import LoadedCheckpoint
from whether.outputs.decoding import DecodingStrategy, constrained, greedy, label_scores, parse_generations
from whether.prompt.requests import requests_of
from whether.prompt.strategies import few_shot, zero_shot
from whether.records import (
    OWN,
    Decoding,
    Example,
    Generation,
    Generations,
    LabelScores,
    Message,
    Request,
    Task,
    read_jsonl,
    write_jsonl,
)

MODEL = model_config()


class Counted:
    """A model that keeps how many chats came with each call."""

    def __init__(self, model: LocalModel):
        self.model, self.calls = model, list[int]()

    def generate(
        self, chats: Sequence[Sequence[Message]], decoding: Decoding, *, progress: str | None = None
    ) -> list[list[Generation]]:
        self.calls.append(len(chats))
        return self.model.generate(chats, decoding, progress=progress)

    def score_labels(self, chats: Sequence[Sequence[Message]], answers: Sequence[str]) -> list[LabelScores]:
        return self.model.score_labels(chats, answers)


@pytest.fixture
def model(tiny_model: Path) -> Counted:
    return Counted(LocalModel.load(tiny_model, None, MODEL))


def asked(task: Task, examples: list[Example]) -> tuple[list[Request], dict[str, DecodingStrategy]]:
    """The arm's own format, then three others: two of one decoding in one call, and one that is scored."""
    greedily, choosing, scoring = greedy(task, 0), constrained(task, 0), label_scores(task, 0, calibrate=True)
    zero, few = zero_shot(task, examples, 0), few_shot(task, examples, 0, examples=2)
    requests = [
        *requests_of(zero, greedily, examples[:4], "dev", variant=OWN),
        *requests_of(zero, choosing, examples[:4], "dev", call=1, variant="first"),
        *requests_of(few, choosing, examples[1:5], "dev", call=1, variant="second"),
        *requests_of(few, scoring, examples[:4], "dev", call=2, variant="scored"),
    ]
    return requests, {OWN: greedily, "first": choosing, "second": choosing, "scored": scoring}


def answers_of(requests: Sequence[Request], model: Counted, folder: Path) -> list[Generations]:
    write_jsonl(folder / "formats.jsonl", [one.as_line() for one in requests])
    loaded = LoadedCheckpoint(model, lambda chat: chat[-1].content, len, None)
    generate_formats("an-arm", folder / "formats.jsonl", load=lambda: loaded, folder=folder)
    return read_jsonl(folder / "generations.jsonl", Generations)


def test_requests_are_read_back_as_they_were_written(tmp_path: Path, label_task: Task, examples: list[Example]) -> None:
    requests, _ = asked(label_task, examples)
    write_jsonl(tmp_path / "requests.jsonl", [one.as_line() for one in requests])
    assert read_jsonl(tmp_path / "requests.jsonl", Request) == requests


def test_each_is_answered_as_by_itself_and_alike_ones_share_a_call(
    model: Counted, tmp_path: Path, label_task: Task, examples: list[Example]
) -> None:
    requests, decodings = asked(label_task, examples)
    together = answers_of(requests, model, tmp_path)
    assert model.calls == [4, 8]
    assert [(one.id, one.split, one.variant) for one in together] == [
        (one.id, one.split, one.variant) for one in requests
    ]
    for variant, decoding in decodings.items():
        alone = answers_of([one for one in requests if one.variant == variant], model, tmp_path)
        shared = [one for one in together if one.variant == variant]
        expected = parse_generations(label_task, decoding, alone)
        assert [(one.answer, one.generation.text) for _, one in parse_generations(label_task, decoding, shared)] == [
            (one.answer, one.generation.text) for _, one in expected
        ]
        assert all(one.answer in label_task.labels for _, one in expected) or variant == OWN


def test_one_that_is_too_long_has_its_error_and_the_others_their_answers(
    model: Counted, tmp_path: Path, label_task: Task, examples: list[Example]
) -> None:
    requests, _ = asked(label_task, examples)
    long = [
        replace(one, messages=[Message("user", "a " * 3000)]) if one.variant == "second" else one for one in requests
    ]
    found = answers_of(long, model, tmp_path)
    for one in found:
        assert (one.error is not None) == (one.variant == "second")
        assert bool(one.samples) == (one.error is None)
    assert "context window" in str(found[-8].error)
