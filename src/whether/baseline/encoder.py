"""A sentence encoder with a classification head: a transformer that reads the input and writes no text."""

import copy
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from whether.baseline.data import BaselineData, LabelledTexts
from whether.config import build
from whether.config.types import Component, Count, Positive
from whether.errors import DataError, DivergedError, EngineError
from whether.model.loading import error_summary, gc_disabled
from whether.records import read_json, write_json

if TYPE_CHECKING:
    import torch

ANSWERED_AT_ONCE = 64
"""Inputs of a batch when nothing is trained."""
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
"""Values of C, the inverse strength of the logistic regression's regularisation, of which dev chooses."""
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; it falls in the others, both linearly."""
HEAD_FILE = "head.safetensors"
LABELS_FILE = "labels.json"


@dataclass(frozen=True)
class _Record:
    """Keys of labels.json."""

    labels: list[str]
    """What each row of the head is a score of."""
    parameters: int
    """Numbers that were fitted."""


@dataclass(frozen=True)
class _Classifier:
    """An encoder and a head that reads the mean of its last hidden states."""

    tokenizer: Any
    encoder: Any
    head: "torch.nn.Linear"
    max_length: int

    def scores(self, texts: Sequence[str]) -> "torch.Tensor":
        """Return the scores of labels, float32 [texts, labels]."""
        import torch

        with torch.inference_mode():
            scores: torch.Tensor = self.head(self.embeddings(texts))
        return scores

    def embeddings(self, texts: Sequence[str]) -> "torch.Tensor":
        """Return what the head reads of each text, float32 [texts, features]; similar lengths share a batch."""
        import torch

        self.encoder.eval()
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        embeddings = torch.empty(len(texts), self.encoder.config.hidden_size)
        with torch.inference_mode():
            for rows in _batches(order, ANSWERED_AT_ONCE):
                embeddings[rows] = self.embed([texts[row] for row in rows])
        return embeddings

    def embed(self, texts: list[str]) -> "torch.Tensor":
        """Return the mean of the last hidden states over each text's tokens, float32 [texts, features]."""
        longest = min(self.max_length, self.tokenizer.model_max_length)
        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=longest, return_tensors="pt",
            split_special_tokens=True,  # "[SEP]" in a row is text
        )  # fmt: skip
        hidden = self.encoder(**batch).last_hidden_state  # [texts, tokens, features]
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean: torch.Tensor = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return mean


class Encoder:
    """A sentence encoder and a linear head on the mean of its last hidden states, for label tasks.

    The head is first fitted alone, as a logistic regression whose C is chosen by the log-loss on dev. Then, unless
    `frozen`, all weights are tuned from there (Kumar et al. 2022, 2202.10054), and the epoch with the lowest log-loss
    on dev is kept. On a CPU, the same data, seed and number of threads give the same numbers.
    """

    def __init__(
        self,
        *,
        source: Component,
        frozen: bool = False,
        epochs: Count = 4,
        learning_rate: Positive = 2e-5,
        batch_size: Count = 16,
        max_length: Annotated[int, Field(ge=8)] = 256,
    ):
        """Note the settings; `max_length` is in tokens, and what is longer loses its end."""
        self._source = source
        self._frozen = frozen
        self._epochs = epochs
        self._learning_rate = learning_rate
        self._batch_size = batch_size
        self._max_length = max_length
        self._classifier: _Classifier | None = None
        self._record = _Record(labels=[], parameters=0)

    @property
    def parameters(self) -> int:
        """Numbers that were fitted: those of the head, and those of the encoder unless it is frozen."""
        return self._record.parameters

    def fit(self, data: BaselineData) -> None:
        """Fit on train and choose by dev. Raises DataError for fewer than two labels."""
        import torch

        labels = sorted(set(data.train.targets))
        if len(labels) < 2:
            raise DataError(
                f"an encoder learns to choose among labels, and train has {len(labels)} ({', '.join(labels)}): add"
                " examples of other labels, or leave it out (baseline=[])"
            )
        data = replace(data, dev=_with_known_labels(data.dev, labels))
        with tempfile.TemporaryDirectory() as folder:
            build(self._source, Path(folder), where="source")
            classifier = self._load(Path(folder), labels)
        _fit_head(classifier, labels, data)
        parameters = sum(weight.numel() for weight in classifier.head.parameters())
        if not self._frozen:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(data.seed)
                parameters = self._tune(classifier, labels, data)
        self._classifier, self._record = classifier, _Record(labels, parameters)

    def answer(self, texts: Sequence[str]) -> list[str]:
        """Return the likeliest label of each input."""
        assert self._classifier, "fit or load comes first"
        return [self._record.labels[place] for place in self._classifier.scores(texts).argmax(dim=1).tolist()]

    def save(self, folder: Path) -> None:
        """Write encoder and tokenizer in transformers' format, the head's weight and bias, and labels.json."""
        from safetensors.torch import save_file

        assert self._classifier, "fit or load comes first"
        self._classifier.encoder.save_pretrained(folder)
        self._classifier.tokenizer.save_pretrained(folder)
        save_file(self._classifier.head.state_dict(), folder / HEAD_FILE)
        write_json(folder / LABELS_FILE, self._record)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises RecordError or EngineError for a folder that lacks something."""
        from safetensors.torch import load_file

        record = read_json(folder / LABELS_FILE, _Record)
        classifier = self._load(folder, record.labels)
        try:
            classifier.head.load_state_dict(load_file(folder / HEAD_FILE), assign=True)
        except Exception as error:
            raise EngineError(f"{folder / HEAD_FILE} cannot be read: {error_summary(error)}") from error
        self._classifier, self._record = classifier, record

    def _load(self, folder: Path, labels: list[str]) -> _Classifier:
        """Return the encoder in a folder with a head for these labels, whose numbers are still to come."""
        import torch

        tokenizer, encoder = _load_encoder(folder)
        head = torch.nn.Linear(encoder.config.hidden_size, len(labels), device="meta")
        return _Classifier(tokenizer, encoder, head, self._max_length)

    def _tune(self, classifier: _Classifier, labels: list[str], data: BaselineData) -> int:
        """Tune all weights by AdamW and keep the epoch that is best on dev, the last one where dev is empty.

        Returns how many numbers were tuned. Raises DivergedError for a loss that is not a number.
        """
        import torch
        from transformers import get_linear_schedule_with_warmup

        model = torch.nn.ModuleList([classifier.encoder, classifier.head])
        optimizer = torch.optim.AdamW(model.parameters(), lr=self._learning_rate, fused=True)
        steps = self._epochs * math.ceil(len(data.train.texts) / self._batch_size)
        schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(WARM_UP * steps), steps)
        train_loss = _log_loss(labels, data.train, data.balanced)
        dev_loss = _log_loss(labels, data.dev, data.balanced)
        best, kept, tuned = math.inf, None, 0
        for _ in range(self._epochs):
            model.train()
            for rows in _shuffled_batches(data.train.texts, self._batch_size):
                loss = train_loss(classifier.head(classifier.embed([data.train.texts[row] for row in rows])), rows)
                if not torch.isfinite(loss):
                    raise DivergedError(
                        f"training diverged: its loss is {float(loss)}; lower learning_rate ({self._learning_rate:g})"
                    )
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                tuned = sum(weight.numel() for weight in model.parameters() if weight.grad is not None)
                optimizer.zero_grad()
            if data.dev.texts and (now := float(dev_loss(classifier.scores(data.dev.texts)))) < best:
                best, kept = now, copy.deepcopy(model.state_dict())
        if kept is not None:
            model.load_state_dict(kept)
        return tuned


@gc_disabled()
def _load_encoder(folder: Path) -> tuple[Any, Any]:
    """Return tokenizer and encoder, float32, of a folder. Raises EngineError for one that cannot be loaded."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        encoder, report = AutoModel.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            output_loading_info=True,
        )  # fmt: skip
    except Exception as error:
        raise EngineError(f"{folder} cannot be loaded as an encoder: {error_summary(error)}") from error
    # Nothing reads the pooler, which some encoders come without.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise EngineError(f"{folder} lacks weights of the encoder that its config.json describes, such as {missing[0]}")
    return tokenizer, encoder


def _fit_head(classifier: _Classifier, labels: list[str], data: BaselineData) -> None:
    """Give the head the logistic regression whose C is best on dev; 1 where dev is empty."""
    train, dev = (classifier.embeddings(split.texts) for split in (data.train, data.dev))
    dev_loss = _log_loss(labels, data.dev, data.balanced)
    best = math.inf
    for strength in STRENGTHS if data.dev.texts else (1.0,):
        weight, bias = _logistic_regression(train, data, strength)
        if (now := float(dev_loss(dev @ weight.T + bias)) if data.dev.texts else 0.0) < best:
            best = now
            classifier.head.load_state_dict({"weight": weight, "bias": bias}, assign=True)


def _logistic_regression(
    embeddings: "torch.Tensor", data: BaselineData, strength: float
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return weight [labels, features] and bias [labels] of one fitted on train, labels sorted."""
    import warnings

    import torch
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, class_weight="balanced" if data.balanced else None, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # dev judges what was reached
        model.fit(embeddings.numpy(), data.train.targets)
    weight, bias = (torch.tensor(it.tolist(), dtype=torch.float32) for it in (model.coef_, model.intercept_))
    if len(model.classes_) == 2:  # scikit-learn has one row then, for the second label against the first
        return torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return weight, bias


def _log_loss(labels: list[str], split: LabelledTexts, balanced: bool) -> "Callable[..., torch.Tensor]":
    """Return what computes the mean log-loss, in nats, of scores [rows, labels]: of some rows of a split, or of all.

    With `balanced`, the weights of a label's examples have the same sum for each label; they are 1 on average.
    """
    import torch

    counts = Counter(split.targets)
    places = torch.tensor([labels.index(target) for target in split.targets])
    weights = torch.tensor([len(places) / (len(counts) * counts[it]) if balanced else 1.0 for it in split.targets])

    def loss(scores: torch.Tensor, rows: list[int] | slice = slice(None)) -> torch.Tensor:
        return (torch.nn.functional.cross_entropy(scores, places[rows], reduction="none") * weights[rows]).mean()

    return loss


def _with_known_labels(split: LabelledTexts, labels: list[str]) -> LabelledTexts:
    """Return the examples that a classifier of these labels could get right."""
    known = [row for row, target in enumerate(split.targets) if target in labels]
    return LabelledTexts([split.texts[row] for row in known], [split.targets[row] for row in known])


def _shuffled_batches(texts: Sequence[str], size: int) -> list[list[int]]:
    """Return rows in random batches of similar lengths, for less padding: 8 batches are drawn at a time and sorted."""
    import torch

    batches = []
    for pool in _batches(torch.randperm(len(texts)).tolist(), 8 * size):
        batches += list(_batches(sorted(pool, key=lambda row: len(texts[row])), size))
    return [batches[place] for place in torch.randperm(len(batches)).tolist()]


def _batches(rows: list[int], size: int) -> Iterator[list[int]]:
    """Yield the rows in their order, `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
