"""A package that a later stage would miss is named before anything is fetched or tuned."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from whether.cli.app import command
from whether.config import CONF, check, compose, require_packages
from whether.errors import MissingPackageError

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.heavy


def lacking(*modules: str) -> object:
    """Stand in for Python's search for modules, on a machine without some of them."""
    return lambda name: None if name in modules else object()


@pytest.mark.parametrize(
    ("overrides", "missing", "message"),
    [
        (["model.backend=vllm"], "vllm", r"^model.backend: vllm needs the package 'vllm': pip install 'whether\[vllm"),
        (["prompt=[zero_shot,knn_bm25]"], "bm25s", r"^prompts.knn_bm25: nearness by bm25 needs the package 'bm25s'"),
        (["prompt=[zero_shot,knn_embeddings]"], "sentence_transformers", r"pip install 'whether\[embeddings\]'"),
        (["checkpoint=[base,lora,qlora]"], "bitsandbytes", r"^checkpoints.qlora needs the package 'bitsandbytes'"),
    ],
)  # fmt: skip
def test_a_missing_package_is_named_with_the_setting_that_needs_it(
    overrides: Sequence[str], missing: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = check(yaml.safe_load(compose(overrides, ROOT / CONF)))
    monkeypatch.setattr("whether.config.packages.find_spec", lacking())
    require_packages(config)
    monkeypatch.setattr("whether.config.packages.find_spec", lacking(missing))
    with pytest.raises(MissingPackageError, match=message):
        require_packages(config)
    require_packages(check(yaml.safe_load(compose(["model.backend=engine"], ROOT / CONF))))


@pytest.mark.parametrize("verb", ["run", "quick"])
def test_nothing_is_fetched_or_run_without_it(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CONF).symlink_to(ROOT / CONF)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("whether.config.packages.find_spec", lacking("vllm"))
    with pytest.raises(MissingPackageError, match=r"model.backend: vllm needs the package 'vllm'"):
        command([verb, "model.backend=vllm"])
    assert [file.name for file in tmp_path.iterdir()] == ["conf"]
