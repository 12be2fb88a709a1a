"""A metric of answers: an entry of the section `metrics`, from conf/metric/<name>.yaml."""

from dataclasses import field

from pydantic.dataclasses import dataclass

from whether.config.types import STRICT, Component


@dataclass(frozen=True, config=STRICT)
class MetricConfig:
    """What one example adds up to, what the sum means, and how the number reads."""

    totals: Component
    """`_target_`: (task, answer, target) → a list with the number of one example, or with those that `value` is made
    from. The answer is None where nothing valid was found; the target reads as an equal answer does."""
    label: str
    """Its name in tables and sentences."""
    higher_is_better: bool
    unit: str = "fraction"
    """`fraction` reads as a percentage; `seconds`, `USD` and `bytes` as such; `number` as a number, as the further ones
    of `whether.metrics.format.UNITS` do."""
    description: str = ""
    """What it is, in a sentence without an end."""
    value: Component | None = None
    """`_target_`: (sums of totals, shape (..., k); number of examples) → values, shape (...). None: the mean."""
    effective_n: Component | None = None
    """`_target_`: (sums of totals, shape (k,); number of examples) → how many examples the value is worth, for the
    width of intervals, where `value` averages over fewer; None: all."""
    range: tuple[float, float] | None = (0.0, 1.0)
    """[0, 1], or null for a metric of any size, which cannot be the primary one."""
    outputs: list[str] = field(default_factory=list)
    """Kinds of output that have it, by name; empty: all. A kind can name others itself (`OutputKind.metrics`)."""
    question: str = "How good are the answers?"
    """What people ask that it answers: the row of the report's overview in which it stands."""

    def __post_init__(self) -> None:
        if self.range not in (None, (0.0, 1.0)):
            raise ValueError(
                f"range must be [0, 1], or null for a metric of any size, which cannot decide, and is"
                f" {list(self.range)}: let the function return (value - lowest) / (highest - lowest)"
            )

    def goes_with(self, output: str) -> bool:
        """Return whether it names a kind of output."""
        return not self.outputs or output in self.outputs

    @property
    def can_decide(self) -> bool:
        """Whether it can be the primary metric: margins are fractions, and more has to be better."""
        return self.range is not None and self.higher_is_better
