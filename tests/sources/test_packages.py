import hashlib
import threading
import zipfile
from pathlib import Path

import pytest

from whether.errors import SourceError
from whether.sources import packages
from whether.sources.packages import cache_folder, fetch_package


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for the package index, with one wheel; real pip, no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "rows-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("rows/data.txt", "content")
        wheel.writestr("rows-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: rows\nVersion: 1.0\n")
        wheel.writestr("rows-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("rows-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def hash_of(index: Path) -> str:
    return hashlib.sha256(next(index.glob("*.whl")).read_bytes()).hexdigest()


def left_behind() -> list[str]:
    return [path.name for path in cache_folder().glob("*") if path.suffix != ".lock"]


@pytest.mark.heavy
def test_a_package_is_downloaded_once(index: Path) -> None:
    sha256 = hash_of(index)
    file = fetch_package("rows", "1.0", sha256)
    assert file == cache_folder() / sha256 / "rows-1.0-py3-none-any.whl"
    next(index.glob("*.whl")).unlink()
    assert fetch_package("rows", "1.0", sha256) == file
    assert left_behind() == [sha256]


@pytest.mark.heavy
def test_what_pip_prints_is_for_the_log(
    index: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", packages.logger.name):
        fetch_package("rows", "1.0", hash_of(index))
    assert capfd.readouterr() == ("", "")
    said, printed = caplog.records
    assert (said.levelname, said.message) == ("INFO", "fetching rows 1.0 ...")
    assert printed.levelname == "DEBUG"
    assert "Saved" in printed.message


@pytest.mark.heavy
def test_a_damaged_file_in_the_cache_is_replaced(index: Path) -> None:
    file = fetch_package("rows", "1.0", hash_of(index))
    file.write_bytes(b"damaged")
    assert fetch_package("rows", "1.0", hash_of(index)).read_bytes() != b"damaged"


@pytest.mark.heavy
def test_another_hash_than_pinned_is_refused_and_nothing_kept(index: Path) -> None:
    with pytest.raises(SourceError, match=rf"the index offers a file with SHA-256 {hash_of(index)}, and 0000"):
        fetch_package("rows", "1.0", "0" * 64)
    assert left_behind() == []


@pytest.mark.heavy
def test_a_package_that_is_not_there_is_one_message(index: Path) -> None:
    with pytest.raises(SourceError, match=r"absent==2\.0 cannot be downloaded: .*No matching distribution") as raised:
        fetch_package("absent", "2.0", "0" * 64)
    assert "\n" not in str(raised.value)
    assert left_behind() == []


@pytest.mark.heavy
def test_without_a_network_the_message_says_so(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(SourceError, match="the package index cannot be reached"):
        fetch_package("rows", "1.0", hash_of(index))
    assert left_behind() == []


@pytest.mark.heavy
def test_what_a_killed_download_left_is_removed(index: Path) -> None:
    partial = cache_folder() / f"{hash_of(index)}.partial"
    (partial / "files").mkdir(parents=True)
    (partial / "files" / "half.whl").write_bytes(b"half")
    assert fetch_package("rows", "1.0", hash_of(index)).name == "rows-1.0-py3-none-any.whl"
    assert not partial.exists()


def test_an_interrupted_download_leaves_nothing(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packages.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_package("rows", "1.0", hash_of(index))
    assert left_behind() == []


@pytest.mark.heavy
def test_two_at_once_download_once(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = []
    download = packages._download
    monkeypatch.setattr(packages, "_download", lambda *arguments: (downloads.append(arguments), download(*arguments)))
    sha256 = hash_of(index)
    threads = [threading.Thread(target=fetch_package, args=("rows", "1.0", sha256)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(downloads) == 1
    assert left_behind() == [sha256]
