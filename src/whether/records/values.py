"""Values of cells in the types of JSON, and as text that UTF-8 holds.

plain       what a cell means: the reader of every format applies it, so that a value is the same from each of them
storable    what a record can keep of it: the writer's, for values that have no JSON of their own
"""

import datetime as dt
import math
import re
from decimal import Decimal
from typing import Any

WHOLE = 2**53
"""Below it a float that is a whole number is that number exactly."""
SHOWN = 16
"""First bytes of a value that is not text, in hexadecimal."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character, which UTF-8 cannot hold: left where a text was cut in the middle of one."""


def plain(value: Any) -> Any:
    """Return a cell in the types of JSON, whatever library it comes from.

    NaN and NaT are None, missing; a whole float or decimal is an int; another decimal is its digits as text; dates and
    times are ISO 8601, durations their seconds; bytes of UTF-8 are text. Other bytes and infinities stay as they are:
    they have no text, so a cell of them is refused where it is used.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return whole(float(value))
    if isinstance(value, dict):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _decoded(bytes(value))
    return _plain_object(value)


def whole(value: float) -> float | int | None:
    """Return a float as the number that it is: None for NaN, an int where it is whole."""
    if value.is_integer() and abs(value) < WHOLE:
        return int(value)
    return None if math.isnan(value) else value


def storable(value: Any) -> Any:
    """Return a value that JSON and UTF-8 can hold: `plain`, and a readable text for what has no JSON of its own."""
    value = plain(value)
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, str):
        return value if value.isascii() else SURROGATE.sub("\ufffd", value)
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return f"{len(value)} bytes, which begin with {value[:SHOWN].hex(' ')}"
    return value


def _plain_object(value: Any) -> Any:
    library = type(value).__module__.partition(".")[0]
    if library == "numpy":
        # By its shortest digits: 0.1 of 32 bits is 0.10000000149011612 in 64.
        short = value.dtype.kind == "f" and value.ndim == 0 and value.itemsize < 8
        return plain(float(str(value)) if short else value.tolist())
    if library == "pyarrow":
        return plain(value.as_py())
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, dt.timedelta):
        return whole(value / dt.timedelta(seconds=1))
    if value != value:  # noqa: PLR0124 - NaN and NaT, of any library
        return None
    return value.isoformat() if isinstance(value, (dt.date, dt.time)) else str(value)


def _decimal(value: Decimal) -> int | float | str | None:
    if value.is_nan():
        return None
    if value.is_infinite():
        return float(value)
    return int(value) if value == value.to_integral_value() else format(value, "f")


def _decoded(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(plain(key))
