"""Rows of Parquet: one file, or a folder of parts."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from whether.records.values import plain, whole
from whether.sources.tables.lines import Line, UnreadableError, unreadable

_BATCH = 1024


def parquet_parts(path: Path) -> list[Path]:
    """Return the Parquet files of a folder in the order of their names, or the file itself.

    Raises UnreadableError for a folder that holds anything else; files that begin with `_` or `.` are notes of the tool
    that wrote it.
    """
    if not path.is_dir():
        return [path]
    parts = sorted(entry for entry in path.iterdir() if not entry.name.startswith(("_", ".")))
    other = next((entry for entry in parts if entry.is_dir() or entry.suffix.lower() != ".parquet"), None)
    if other is not None or not parts:
        holds = f"it holds {other.name}" if other else "it is empty"
        raise UnreadableError(f"it is a folder, and rows are read from a folder of .parquet files only; {holds}")
    return parts


def read_parquet(path: Path) -> Iterator[Line]:
    """Yield every row, numbered through all parts."""
    import pyarrow as pa

    number = 0
    try:
        for part in parquet_parts(path):
            for number, row in enumerate(_rows(part), number + 1):  # noqa: B020
                yield Line(number, row)
    except (pa.ArrowException, OSError) as error:
        yield unreadable(f"not a Parquet file that can be read: {str(error).splitlines()[0]}", number + 1)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
        if twice is not None:
            raise UnreadableError(f"it has two columns of the name {twice!r}: remove or rename one")
        features = _features(schema.metadata or {})
        readers = [_column_reader(field.type, features.get(field.name)) for field in schema]
        for batch in file.iter_batches(batch_size=_BATCH):
            yield from _batch_rows(batch, readers)


def _batch_rows(batch: Any, readers: Sequence[Callable[[Any], list[Any]] | None]) -> list[dict[str, Any]]:
    """Return a batch's rows: its columns as they are, and over them those that a reader makes."""
    import pyarrow as pa

    made, others = {}, batch
    for place, (name, read) in enumerate(zip(batch.schema.names, readers, strict=True)):
        if read is not None:
            made[name] = read(batch.column(place))
            others = others.set_column(place, name, pa.nulls(len(batch)))
    try:
        rows: list[dict[str, Any]] = others.to_pylist()
    except UnicodeDecodeError:
        return _batch_rows(batch, [read or _undecoded for read in readers])
    for name, cells in made.items():
        for row, cell in zip(rows, cells, strict=True):
            row[name] = cell
    return rows


def _features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """Return what the library `datasets` says of each column: the names of its classes, above all."""
    try:
        found = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, LookupError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _column_reader(kind: Any, feature: Any) -> Callable[[Any], list[Any]] | None:
    """Return what makes a list of cells of a column of a type; None where pyarrow's own cells are right."""
    from pyarrow import types

    if isinstance(feature, dict) and _names_classes(feature):
        return lambda column: [_named(cell, feature) for cell in column.to_pylist()]
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_null(kind):
        return None
    if types.is_floating(kind):
        return _floats
    return None if types.is_string(kind) or types.is_large_string(kind) else _cells


def _undecoded(column: Any) -> list[Any]:
    """Return cells of a column of texts some of which are not UTF-8."""
    import pyarrow as pa

    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return _cells(column.cast(pa.large_binary()) if is_text else column)


def _floats(column: Any) -> list[Any]:
    import numpy as np
    import pyarrow as pa

    # By their shortest digits: 0.1 of 32 bits is 0.10000000149011612 in 64.
    if pa.types.is_float16(column.type):
        return [None if cell is None else plain(np.float16(cell)) for cell in column.to_pylist()]
    if pa.types.is_float32(column.type):
        column = column.cast(pa.string()).cast(pa.float64())
    return [None if cell is None else whole(cell) for cell in column.to_pylist()]


def _cells(column: Any) -> list[Any]:
    """Return cells of a type that JSON does not have, or of several."""
    import pyarrow as pa

    try:
        column = _shortest(column)
        return [plain(cell) for cell in column.to_pylist()]
    except (ValueError, OverflowError, pa.ArrowException):  # a time that Python does not know
        return list(column.cast(pa.string()).to_pylist())


def _shortest(column: Any) -> Any:
    """Return a column of lists of 32-bit floats as 64-bit ones with the shortest digits, any other one as it is."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_list(kind) and pa.types.is_float32(kind.value_type):
        return column.cast(pa.list_(pa.string())).cast(pa.list_(pa.float64()))
    return column


def _names_classes(feature: dict[str, Any]) -> bool:
    inner = feature.get("feature")
    return isinstance(feature.get("names"), list) or (isinstance(inner, dict) and _names_classes(inner))


def _named(cell: Any, feature: dict[str, Any]) -> Any:
    """Return the name of a class, or of each in a list; None for one that is not known (-1)."""
    if isinstance(cell, list):
        return [_named(item, feature.get("feature", feature)) for item in cell]
    names = feature.get("names", [])
    if isinstance(cell, int) and not isinstance(cell, bool):
        return names[cell] if 0 <= cell < len(names) else None if cell == -1 else cell
    return plain(cell)
