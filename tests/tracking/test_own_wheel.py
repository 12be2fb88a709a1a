"""The wheel of this package in a logged model: what no index has, pip installs from the model's folder."""

import subprocess
import sys
import zipfile
from email import message_from_string
from importlib import metadata
from pathlib import Path

import pytest

from whether.errors import TrackingError
from whether.tracking.own_wheel import write_wheel

ROOT = Path(__file__).parents[2]


def test_it_holds_the_code_and_says_what_it_needs(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path)
    (tmp_path / "again").mkdir()
    assert write_wheel(tmp_path / "again").read_bytes() == wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = f"whether-{metadata.version('whether')}.dist-info"
        described = message_from_string(archive.read(f"{about}/METADATA").decode())
        record = archive.read(f"{about}/RECORD").decode().splitlines()
    package = {f"whether/{file.relative_to(ROOT / 'src/whether')}" for file in (ROOT / "src/whether").rglob("*.py")}
    assert package < names
    assert "whether/export/card.md.j2" in names
    assert not [name for name in names if "__pycache__" in name]
    assert described["Name"] == "whether"
    assert any(line.startswith("transformers") for line in described.get_all("Requires-Dist") or [])
    assert {line.partition(",")[0] for line in record} == names


@pytest.mark.real
def test_pip_installs_it(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path)
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--target", str(target), f"{wheel}"], check=True)
    program = "import sys, whether; assert whether.__file__.startswith(sys.argv[1]), whether.__file__"
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, sys.argv[1]); {program}", str(target)], check=True
    )


def test_without_an_installation_one_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(TrackingError, match="is not installed, so a model cannot say what it needs"):
        write_wheel(tmp_path)
