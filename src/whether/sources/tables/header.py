"""The header of a table of cells, and rows below it: CSV and Excel."""

from collections.abc import Sequence
from typing import Any, NamedTuple

ADVICE = "put a field that holds a comma or a line break in double quotes"


class Header(NamedTuple):
    """The columns of a table."""

    names: tuple[str, ...]
    """Empty for a column without a name."""

    @property
    def named(self) -> int:
        """How many columns there are up to the last one with a name."""
        return next((place for place in range(len(self.names), 0, -1) if self.names[place - 1].strip()), 0)

    def fault(self) -> str:
        """Return what is wrong with it; empty where nothing is."""
        names = [name for name in self.names if name.strip()]
        if not names:
            return "the first line is the header, and it names no column"
        twice = next((name for name in names if names.count(name) > 1), None)
        return f"the header names the column {twice!r} twice" if twice is not None else ""

    def row(self, cells: Sequence[Any]) -> dict[str, Any]:
        """Return a row's cells by their columns. Raises ValueError for more or fewer of them than there are columns.

        Columns without a name are left out. Behind the last name all cells have to be empty, or be left out: a value
        there means that cells have moved.
        """
        if len(cells) == len(self.names) == self.named:
            return {name: cell for name, cell in zip(self.names, cells, strict=True) if name}
        if not self.named <= len(cells) <= len(self.names):
            names = ", ".join(self.names[: self.named])
            raise ValueError(f"{len(cells)} fields, and the header has {self.named} ({names}); {ADVICE}")
        if any(cell not in ("", None) for cell in cells[self.named :]):
            raise ValueError(f"a value stands behind the last column that has a name; {ADVICE}")
        return {name: cell for name, cell in zip(self.names, cells, strict=False) if name.strip()}
