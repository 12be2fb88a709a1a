"""What a verdict was made from: commit, data, weights, versions."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from whether.config import Config
from whether.config.backend import with_chosen_backend
from whether.records import Dtype, Provenance, sha256_file, sha256_folder, sha256_json, to_builtins

PACKAGES = (
    "whether", "torch", "transformers", "peft", "lm-eval", "dvc", "mlflow", "hydra-core", "scipy",
)  # fmt: skip
SOURCES = (
    "src", "pipelines", "conf", "params.yaml", "dvc.yaml", "data.dvc", "pyproject.toml", "constraints.txt", "code.yaml",
)  # fmt: skip
"""What makes a result differ when it changes; dvc.lock, which a run writes, is not among it."""


PARTS = ("task", "model", "serving", "robustness", "benchmark", "curve", "seed")
"""Of params.yaml: what a result depends on, next to policy, pricing, and each checkpoint, prompt and metric alone."""


def provenance(
    artifacts: Path, config: Config | None = None, repository: Path = Path(), *, dtype: Dtype | None = None
) -> Provenance:
    """Return the provenance of the records under `artifacts`, made with `config` by the code in `repository`.

    `dtype` is the precision that they name (`common_precision`).
    """
    commit = _git(repository, "rev-parse", "--verify", "HEAD")
    changes = _git(repository, "status", "--porcelain", "--untracked-files=all", "--", *SOURCES)
    prepared = artifacts / "prepare"
    return Provenance(
        commit=commit,
        dirty=None if commit is None or changes is None else bool(changes),
        data_hash=sha256_json({split: sha256_file(prepared / f"{split}.jsonl") for split in ("train", "dev", "test")}),
        model_hash=model_hash(artifacts / "model"),
        versions={"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=_settings(config) if config else {},
        backend=with_chosen_backend(config.model, artifacts).backend if config else "engine",
        dtype=dtype,
    )


def _settings(config: Config) -> dict[str, str]:
    parts: dict[str, Any] = {name: getattr(config, name) for name in PARTS}
    parts |= {f"checkpoints.{name}": checkpoint for name, checkpoint in config.checkpoints.items()}
    parts |= {f"prompts.{name}": prompt for name, prompt in config.prompts.items()}
    parts |= {f"baselines.{name}": config.baselines[name] for name in config.baseline_names}
    parts |= {f"metrics.{name}": config.metrics[name] for name in config.quality_metrics}
    return {name: sha256_json([to_builtins(part)]) for name, part in parts.items()}


def model_hash(folder: Path) -> str:
    """Return the SHA-256 of a model folder's weights: of the one file, else of names and contents of all."""
    single = folder / "model.safetensors"
    return sha256_file(single) if single.exists() else sha256_folder(folder, "*.safetensors")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(repository: Path, *arguments: str) -> str | None:
    """Return what a git command prints, or None where there is no repository or no git. Takes no lock on the index."""
    command = ["git", "--no-optional-locks", "-C", str(repository), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
