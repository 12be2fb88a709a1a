"""What answers of a served model cost: estimated before the first request is sent, and held to a limit.

Every answer is kept in .state/served/ under a hash of its request, so that none is paid for twice: a run that was cut
off, one more prompt, or the same prompt in another run sends what is missing. What is there counts as spent.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from whether.config import ServedConfig
from whether.errors import EngineError
from whether.records import STATE, Decoding, Generation, Message, Request, sha256_json
from whether.served.model import ServedModel

CountTokens = Callable[[Sequence[Message]], int]
"""Tokens of a chat, by a tokenizer of this machine: the server's own is not known here."""


class CostEstimate(NamedTuple):
    """Requests that would be sent."""

    requests: int
    input_tokens: int
    """About: as the base model's tokenizer counts them."""
    output_tokens: int
    """At most."""
    usd: float


class BudgetExceededError(EngineError):
    """Answers could cost more than `max_cost`."""


class CostEstimator:
    """Answers nothing, sends nothing, and adds up what a served model would be asked (a `ChatModel`)."""

    def __init__(self, served: ServedModel, count: CountTokens):
        self._served, self._count = served, count
        self._tokens: dict[str, tuple[int, int]] = {}

    def generate(
        self,
        chats: Sequence[Sequence[Message]],
        decoding: Decoding,
        *,
        progress: str | None = None,  # noqa: ARG002
    ) -> list[list[Generation]]:
        """Return empty answers."""
        missing = self._served.pending_requests(chats, decoding)
        most = decoding.max_new_tokens + self._served.config.request.thinking_tokens
        self._tokens |= {key: (self._count(chat), most) for key, chat in missing.items()}
        nothing = Generation(None, "", input_tokens=None, cached_tokens=None, output_tokens=None, seconds=0.0)
        return [[nothing] * decoding.sampling.samples for _ in chats]

    @property
    def estimate(self) -> CostEstimate:
        """What was asked so far and is not there."""
        read, written = (sum(column) for column in zip((0, 0), *self._tokens.values(), strict=True))
        price = self._served.config.price
        return CostEstimate(len(self._tokens), read, written, price.usd(read, written) if price else 0.0)


class BudgetedModel:
    """A served model that begins no call which could go beyond `max_cost` (a `ChatModel`)."""

    def __init__(self, config: ServedConfig, name: str, count: CountTokens, setting: str = ""):
        """`name` is the checkpoint's, `setting` the one that holds the limit, if it is not the checkpoint's.

        Raises EngineError if the environment does not hold the key.
        """
        self.config, self.name, self._count = config, name, count
        self._setting = setting or f"checkpoints.{name}.served.max_cost"
        self.served = ServedModel(config, journal_of(config))

    def generate(
        self, chats: Sequence[Sequence[Message]], decoding: Decoding, *, progress: str | None = None
    ) -> list[list[Generation]]:
        """Answer as the served model does. Raises BudgetExceededError before anything is sent where it costs more."""
        estimator = self.estimator()
        estimator.generate(chats, decoding)
        self.check(estimator.estimate, "the next requests")
        return self.served.generate(chats, decoding, progress=progress)

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        """Return what requests would cost at most; those that are answered already cost nothing."""
        estimator = self.estimator()
        for decoding, alike in groupby(requests, key=lambda one: one.decoding):
            estimator.generate([one.messages for one in alike], decoding)
        return estimator.estimate

    def estimator(self) -> CostEstimator:
        """Return what adds up the cost of requests without sending them."""
        return CostEstimator(self.served, self._count)

    def check(self, estimate: CostEstimate, what: str) -> None:
        """Raise BeyondLimitError where answers could cost more than `max_cost`, those that are there included."""
        limit = self.config.max_cost
        if limit is None or estimate.usd == 0:
            return
        spent = self.spent()
        if spent + estimate.usd > limit:
            raise BudgetExceededError(
                f"{what} would cost up to ${estimate.usd:.4g} ({estimate.requests} requests to {self.config.model},"
                f" about {estimate.input_tokens:,} tokens in and at most {estimate.output_tokens:,} out), and"
                f" ${spent:.4g} is spent: more than {self._setting}, which is ${limit:g}."
                " Nothing was sent; raise it if you want this, or ask less (`whether estimate` shows all"
                " arms)"
            )

    def spent(self) -> float:
        """Return what the answers that are there cost, in USD."""
        price = self.config.price
        if price is None or not (price.usd_per_1m_input or price.usd_per_1m_output):
            return 0.0
        used = self.served.usage()
        return price.usd(used.input_tokens, used.output_tokens, used.cached_tokens)


def journal_of(config: ServedConfig) -> Path:
    """Return the file in which a served model's answers are kept; another model has another one."""
    key = sha256_json([config.base_url, config.model])[:16]
    return STATE / "served" / f"{key}.jsonl"
