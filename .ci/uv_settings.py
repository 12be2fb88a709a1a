"""Print pip's settings as shell assignments for uv, which does not read them: indexes, wheels on disk, certificates."""

import shlex
import subprocess
import sys

NAMES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "cert": ("SSL_CERT_FILE", " "),
    "no-index": ("UV_NO_INDEX", " "),
}

listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
for line in listed.stdout.splitlines():  # later lines are of a nearer file, the environment comes last
    key, _, quoted = line.partition("=")
    name, separator = NAMES.get(key.rpartition(".")[2], (None, ""))
    values = quoted.strip("'\"").replace("\\n", " ").split()
    if name == "UV_INDEX":  # uv has no use for a folder of pages
        values = [value for value in values if not value.startswith("file:")]
    if name and values:
        print(f"export {name}={shlex.quote(separator.join(values))}")
