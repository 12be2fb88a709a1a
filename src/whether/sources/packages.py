"""Files from the Python package index, pinned by version and hash, downloaded once for all clones."""

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from whether.errors import SourceError
from whether.records import named_write_errors, sha256_file

logger = logging.getLogger(__name__)

# What a line of requirements.txt is made of: anything else could be an option of pip, or another path in the cache.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_HASH = re.compile(r"[0-9a-f]{64}")


def cache_folder() -> Path:
    """Return where distribution files are kept for all clones of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "whether" / "packages"


def fetch_package(package: str, version: str, sha256: str) -> Path:
    """Return the distribution file (wheel or sdist) of a package, from the cache or from the index.

    pip downloads it, with the index, proxy and certificates that the user has set up, and checks the hash before it
    touches the content. For an sdist pip then also runs the package's own metadata step (`setup.py egg_info`), which
    it offers no way to leave out; it runs only after the hash was found right, without build isolation, so that
    nothing unpinned is downloaded for it. Raises SourceError where the file cannot be had or is not what was pinned.
    """
    for what, text, form in (("package", package, _NAME), ("version", version, _VERSION), ("sha256", sha256, _HASH)):
        if not form.fullmatch(text):
            raise SourceError(f"{text!r} is not the {what} of a Python package: correct it in conf/")
    folder = cache_folder() / sha256
    with named_write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Two clones at once: the second waits and finds the file.
        with FileLock(folder.with_suffix(".lock")):
            cached = _cached(folder, sha256)
            if cached is None:
                _download(package, version, sha256, folder)
                cached = _cached(folder, sha256)
    if cached is None:
        raise SourceError(f"{package}=={version}: pip downloaded a file whose SHA-256 is not {sha256}")
    return cached


def _cached(folder: Path, sha256: str) -> Path | None:
    files = sorted(folder.glob("*"))
    return files[0] if len(files) == 1 and sha256_file(files[0]) == sha256 else None


def _download(package: str, version: str, sha256: str, folder: Path) -> None:
    """Download next to the place and rename; what a killed download left behind is removed first."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        (partial / "requirements.txt").write_text(f"{package}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
        (partial / "files").mkdir()
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
        command += ["--require-hashes", "--no-build-isolation", "--no-cache-dir", "--no-input", "--progress-bar", "off"]
        command += ["-r", str(partial / "requirements.txt"), "-d", str(partial / "files")]
        # pip unpacks in TMPDIR: here, so that nothing is left elsewhere. What it prints is for the log.
        environment = {**os.environ, "TMPDIR": str(partial)}
        logger.info("fetching %s %s ...", package, version)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        logger.debug("%s%s", done.stdout, done.stderr)
        if done.returncode:
            raise SourceError(_reason(f"{package}=={version}", sha256, done.stderr))
        shutil.rmtree(folder, ignore_errors=True)
        (partial / "files").rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _reason(requirement: str, sha256: str, stderr: str) -> str:
    """Say in one message why pip failed and what to do."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    last = errors[-1] if errors else lines[-1] if lines else "no message"
    if "DO NOT MATCH THE HASHES" in stderr:
        got = next((line.split()[-1] for line in lines if line.startswith("Got")), "another one")
        return (
            f"{requirement}: the index offers a file with SHA-256 {got}, and {sha256} is pinned in conf/; nothing of it"
            " was used. If a mirror is configured, check it; change the pin only if you trust the new file"
        )
    if "No module named pip" in stderr:
        command = f"{shlex.quote(sys.executable)} -m ensurepip"
        return f"{requirement} cannot be downloaded: this environment has no pip; run `{command}`"
    if "Connection" in stderr or "Temporary failure in name resolution" in stderr or "ProxyError" in stderr:
        return (
            f"{requirement} cannot be downloaded: the package index cannot be reached. Check network, proxy and"
            f" `pip config list`, then run the same command again (pip: {last})"
        )
    return (
        f"{requirement} cannot be downloaded: the package index does not offer it, or cannot be reached; see what"
        f" `pip download --no-deps {requirement}` says (pip: {last})"
    )
