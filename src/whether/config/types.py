"""The types that sections share, and the names that are fixed."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

CONF = Path("conf")
PARAMS = Path("params.yaml")
KNOWLEDGE = Path("knowledge")
"""Folders of documents for prompts that retrieve; a dependency of every arm."""
BASE = "base"
"""The name of the checkpoint that is not tuned."""

STRICT = ConfigDict(extra="forbid", str_strip_whitespace=False, use_attribute_docstrings=True)
Fraction = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Truncation = Literal["error", "left"]
"""What becomes of requests longer than the context window: `error` stops; `left` drops their beginnings and counts."""

FileName = Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f][^/\\\x00-\x1f]*$")]
"""A name that leads to no other folder."""


Component = dict[str, Any]
"""A mapping with `_target_` (dotted path to a function or class) and its arguments."""
