"""Rows from a data set of the Hugging Face hub, at a pinned commit, as a file of this repository."""

import logging
import tempfile
from pathlib import Path
from typing import Any

from whether.config import SourceConfig
from whether.errors import ConfigError, RecordError, SourceError
from whether.records import named_write_errors, read_json, sha256_file, write_json

logger = logging.getLogger(__name__)


def fetch_rows(source: SourceConfig) -> None:
    """Write the hub data set that `source` names to source.path, unless it is there.

    Next to it, `<path>.source.json` holds what it came from and its SHA-256: another revision is fetched again, and a
    file that was changed by hand is refused. Raises SourceError where the data set cannot be had.
    """
    path = Path(source.path)
    if path.parts[:1] == ("data",):
        raise ConfigError(
            f"task.source.path: {path} lies in data/, which data.dvc describes; put a hub data set next to it, for"
            f" example downloads/{path.name}"
        )
    origin = {key: getattr(source, key) for key in ("hub", "name", "split", "revision")}
    if _is_there(path, origin):
        return
    logger.info("fetching data set %s ...", source.hub)
    rows = _load(source)
    with named_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix says the format, so the temporary name keeps it.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
            temporary = Path(folder) / path.name
            _write(rows, temporary)
            temporary.replace(path)
    write_json(_record(path), {**origin, "sha256": sha256_file(path)})


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.source.json")


def _is_there(path: Path, origin: dict[str, str | None]) -> bool:
    try:
        known: dict[str, Any] = read_json(_record(path))
    except RecordError:
        return False
    if not path.exists() or {key: known.get(key) for key in origin} != origin:
        return False
    if known.get("sha256") != sha256_file(path):
        raise SourceError(
            f"{path} was changed after it was fetched from {origin['hub']}: remove it to fetch it again, or take hub"
            " out of task.source to use it as your own file"
        )
    return True


def _load(source: SourceConfig) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(source.hub, name=source.name, split=source.split, revision=source.revision)
    except (DatasetsError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise SourceError(
            f"data set {source.hub} ({source.name or 'default'}, {source.split}, {source.revision}) cannot be had:"
            f" {str(error).strip().splitlines()[0]}. Check the id, the revision and the network; a private or gated"
            " data set needs HF_TOKEN in the environment"
        ) from None


def _write(rows: Any, path: Path) -> None:
    if path.suffix == ".parquet":
        rows.to_parquet(path)
        return
    rows = _with_class_names(rows)
    if path.suffix == ".jsonl":
        rows.to_json(path, lines=True, force_ascii=False)
    else:
        rows.to_csv(path, index=False)


def _with_class_names(rows: Any) -> Any:
    """Return rows whose classes are names: text files have no place for what the numbers mean."""
    from datasets import ClassLabel

    order = rows.column_names
    for name, feature in rows.features.items():
        if isinstance(feature, ClassLabel):
            names = [None if cell is None or cell < 0 else feature.int2str(cell) for cell in rows[name]]
            rows = rows.remove_columns(name).add_column(name, names)
    return rows.select_columns(order)
