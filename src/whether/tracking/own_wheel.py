"""This package as a wheel, so that a logged model can say what to install: no index has the name `whether`."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import whether
from whether.errors import TrackingError

_LEFT_OUT = {"__pycache__", "project"}
"""Folders that are not in it: what Python made, and what `whether new` makes projects of."""
_FIRST_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every file, the earliest that a zip archive can hold: the same code is the same wheel."""


def write_wheel(folder: Path) -> Path:
    """Write the installed code of this package into a folder as a wheel that pip takes, and return its path.

    Raises TrackingError where the package runs without being installed, so that its dependencies are not known.
    """
    try:
        distribution = metadata.distribution("whether")
    except metadata.PackageNotFoundError:
        raise TrackingError(
            "the package whether is not installed, so a model cannot say what it needs: pip install it"
        ) from None
    version = distribution.version
    about = f"whether-{version}.dist-info"
    entries = dict(_code())
    for name in ("METADATA", "entry_points.txt"):
        text = distribution.read_text(name)
        entries |= {f"{about}/{name}": text.encode()} if text else {}
    entries[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: whether\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = [f"{name},{_digest(content)},{len(content)}" for name, content in entries.items()]
    entries[f"{about}/RECORD"] = "".join(f"{line}\n" for line in [*lines, f"{about}/RECORD,,"]).encode()
    wheel = folder / f"whether-{version}-py3-none-any.whl"
    wheel.write_bytes(_archive(entries))
    return wheel


def _code() -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file of the package."""
    package = Path(whether.__file__).parent
    for file in sorted(package.rglob("*")):
        path = file.relative_to(package)
        if file.is_file() and _LEFT_OUT.isdisjoint(path.parts[:-1]):
            yield f"whether/{path.as_posix()}", file.read_bytes()


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"


def _archive(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name, _FIRST_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()
