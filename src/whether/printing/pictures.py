"""Text in pictures that matplotlib draws."""

from whether.printing.terminal import printable


def plain(text: str) -> str:
    """Return a label of a picture that shows as it stands: "$" begins no formula, and no character breaks the SVG."""
    return printable(text).replace("$", r"\$")
