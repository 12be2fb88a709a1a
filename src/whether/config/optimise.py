"""What a search for a better prompt tries: the section `optimise`."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from whether.config.served import ServedConfig
from whether.config.types import STRICT, Component, Count, Fraction, Positive

Choose = Literal["balanced", "random", "diverse"]


@dataclass(frozen=True, config=STRICT)
class ReflectConfig:
    """How a stronger model rewrites the best prompt's instruction."""

    reflector: ServedConfig
    """The model that writes; it reads training examples, and never dev or test."""
    evaluations: Count
    """Requests to the checkpoint that rewriting may take, about."""
    minibatch: Count = 4
    """Training examples that the reflector reads at a time, and on which its text has to do better."""
    max_new_tokens: Count = 2048
    """Of an answer of the reflector."""


@dataclass(frozen=True, config=STRICT)
class OptimiseConfig:
    """Which prompts are tried on dev, and how much that may cost."""

    instructions: Annotated[dict[str, str], Field(min_length=1)]
    """Name → instruction template, as in a prompt's `strategy.instruction`; "" is the task's own instruction."""
    examples: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    """Numbers of demonstrations; 0: none."""
    choose: Annotated[list[Choose], Field(min_length=1)]
    """How fixed demonstrations are chosen."""
    draws: Count
    """Sets (and orders) of demonstrations that are drawn for each number and choice."""
    nearest: list[Count]
    """Numbers of nearest labelled examples, as in `knn`: dear, since queries share little. Empty: not tried."""
    decodings: Annotated[dict[str, Component], Field(min_length=1)]
    """Name → how an answer is got; those for labels are left out where the task has none."""
    candidates: Count
    """Prompts drawn from all combinations, at most."""
    first: Annotated[int, Field(ge=2)]
    """Examples of dev on which all of them are tried; those that are kept on twice as many, and so on to all."""
    keep: Annotated[Fraction, Field(gt=0, lt=1)]
    """Share of the prompts that are kept."""
    evaluations: Count | None = None
    """Requests at most: fewer candidates are drawn; None: no limit. The prompts they are compared with come on top."""
    minutes: Positive | None = None
    """After so long the best so far goes to the end alone; None: no limit."""
    reflect: ReflectConfig | None = None
    """Rewriting of the best candidate's instruction by a served model (conf/optimise/reflective.yaml); None: none."""
