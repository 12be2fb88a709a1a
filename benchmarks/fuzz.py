"""Malformed inputs of every kind, through the real commands: does each end well, or with one clear message?

    python benchmarks/fuzz.py                  # 10,000 inputs, about two hours on two cores
    python benchmarks/fuzz.py --quick          # 200 inputs, about two minutes
    python benchmarks/fuzz.py --only inbox     # the families whose name begins so
    python benchmarks/fuzz.py --json           # one JSON object: inputs, tracebacks, hangs, silent_losses, …

Files of rows, task YAMLs, overrides, answers of an API, model folders, adapters, bundles and inbox files are changed by
hypothesis (benchmarks/mutations.py) and read by the commands that read them (benchmarks/fuzz_places.py), each in a
repository of its own. An input counts against us under

    tracebacks     a traceback is printed
    hangs          a command takes more than 20 seconds
    silent_losses  a command ends well, and its records do not account for every row, or hold another
    wrong_exits    a status that is none of ours, an error with status 0, or another number of messages than one
    half_written   a file or folder that is not whole
    unplaced       an error that names no file, line or setting

Inputs that went wrong are kept in --keep, each with what was printed.
"""

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from fuzz_places import Family, Made, Places, is_text, json_lines
from hypothesis import HealthCheck, Phase, given, seed, settings
from mutations import Row

from tests.warm_python import warm_python

FAULTS = ("tracebacks", "hangs", "silent_losses", "wrong_exits", "half_written", "unplaced")
SECONDS = 20
PLACED = re.compile(
    r"\b(line|row|field|column|key|byte|position|message|request)s? ?\d"
    r"|[\w-]+\.(csv|jsonl?|ya?ml|parquet|safetensors|jinja)\b"
    r"|\b[a-z_]+\.[a-z_]+\b|\b\w+=|https?://|(^|\s)[\w.-]+/|'[^']+'"
)
"""A file, a line, a setting or a word of the command line."""


class Ended(NamedTuple):
    """What came of an input."""

    family: str
    faults: list[str]
    text: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="200 inputs")
    parser.add_argument("--only", default="", help="the families whose name begins so")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=2, help="commands at a time")
    parser.add_argument("--keep", type=Path, default=Path(".state/fuzz"), help="folder for what went wrong")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    found = campaign(200 if options.quick else options.inputs, options.seed, options.lanes, options.only, options.keep)
    faults = Counter(fault for ended in found for fault in ended.faults)
    if options.json:
        print(json.dumps({"inputs": len(found), **{name: faults[name] for name in FAULTS}}))
    else:
        print(table(found))
    return int(bool(faults))


def campaign(inputs: int, number: int, lanes: int, only: str, keep: Path) -> list[Ended]:
    """Try about `inputs` inputs in a folder that is removed; keep what went wrong."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    scratch = memory if memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30 else None
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with warm_python(folder / "warm") as python, Places(folder, python / "python") as places:
            return try_all(places, inputs, number, lanes=lanes, keep=keep, only=only)


def try_all(
    places: Places, inputs: int, number: int, *, lanes: int, keep: Path, only: str = "", check: bool = True
) -> list[Ended]:
    """Draw as many inputs of each family and try them, `lanes` at a time."""
    families = [family for family in places.families() if family.name.startswith(only)]
    if check:
        check_that_right_inputs_pass(places, families)
    each = -(-inputs // len(families))
    drawn = [(family, made) for family in families for made in draw(family, each, number)]
    with ThreadPoolExecutor(lanes) as pool:
        tried = [
            pool.submit(attempt, places, family, made, places.folder / f"{place}", keep)
            for place, (family, made) in enumerate(drawn)
        ]
        return [one.result() for one in tried]


def check_that_right_inputs_pass(places: Places, families: Sequence[Family]) -> None:
    """Raise RuntimeError if a family's own input fails: nothing would be tried then."""
    for family in families:
        place, words = places.folder / f"right-{family.name}", places.words
        lay_out(places, family, Made(words=words), place)
        for command in family.commands:
            given = [word for part in command for word in (words if part == "..." else [part])]
            status, text = run(places, given, place)
            if status and not family.fails:
                raise RuntimeError(f"{family.name}: {given} ends with {status}\n{text}")


def draw(family: Family, count: int, number: int) -> list[Made]:
    """Draw inputs of a family, the same for the same number."""
    found: dict[str, Made] = {}  # hypothesis draws some again, or nearly

    @seed(number)
    @settings(
        max_examples=4 * count, phases=[Phase.generate], database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(family.drawn)
    def each(made: Made) -> None:
        found.setdefault(repr(made), made)

    each()
    return random.Random(number).sample(list(found.values()), min(count, len(found)))


def attempt(places: Places, family: Family, made: Made, place: Path, keep: Path) -> Ended:
    """Put an input into a repository of its own and run the commands that meet it."""
    lay_out(places, family, made, place)
    said, faults, status = "", list[str](), 0
    for command in family.commands:
        words = [word for part in command for word in (made.words if part == "..." else [part])]
        status, text = run(places, [clean(word) for word in words], place)
        said += text
        last = command is family.commands[-1]
        faults += judged(status, text, fails=family.fails and last)
        if status:
            break
    faults += [] if whole(place) else ["half_written"]
    if family.found and made.rows is not None and not faults and (status == 0 or family.fails):
        faults += lost(family, made.rows, place)
    ended = Ended(family.name, sorted(set(faults)), said)
    if faults:
        kept = keep / f"{family.name}-{place.name}"
        shutil.rmtree(kept, ignore_errors=True)
        for name, content in made.files.items():
            (kept / name).parent.mkdir(parents=True, exist_ok=True)
            (kept / name).write_bytes(content)
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "said.txt").write_text(f"{ended.faults} {made.words} {made.reply}\n{said}", errors="replace")
    shutil.rmtree(place, ignore_errors=True)
    return ended


def lay_out(places: Places, family: Family, made: Made, place: Path) -> None:
    """Copy a repository by links, since commands replace files and never change them, and put the input in."""
    subprocess.run(["cp", "-al", str(family.base), str(place)], check=True)
    shutil.rmtree(place / ".dvc")
    shutil.copytree(family.base / ".dvc", place / ".dvc")
    if family.name == "model":
        (place / "artifacts" / "model").unlink()
    changed = dict(made.files)
    for stage in ("prepare", "generate") if family.name != "bundle" else ():
        if family.name.startswith(("rows", "task")) or stage == "generate":
            shutil.rmtree(place / "artifacts" / stage, ignore_errors=True)
    if made.reply is not None:
        places.api.replies[place.name] = made.reply
    numbered = (place / "params.yaml").read_text().replace("/number/v1", f"/{place.name}/v1")
    changed["params.yaml"] = numbered.replace("models/tiny", "models/mine").encode()
    for name, content in changed.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).unlink(missing_ok=True)
        (place / name).write_bytes(content)
    rehash(place, made)


def rehash(place: Path, made: Made) -> None:
    """Have the bundle name the changed files by their new hashes, or nothing behind that check would be reached."""
    from whether.records import sha256_file

    note = place / "retrain" / "bundles" / "b" / "bundle.json"
    changed = [
        name for name in made.files if name.startswith("retrain/bundles/b/") and name != str(note.relative_to(place))
    ]
    if changed:
        record = json.loads(note.read_text())
        for name in changed:
            record["files"][name.removeprefix("retrain/bundles/b/")] = sha256_file(place / name)
        note.unlink()
        note.write_text(json.dumps(record))


def clean(word: str) -> str:
    """Return a word that the system can pass on."""
    return word.replace("\0", "").encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")


def run(places: Places, words: Sequence[str], place: Path) -> tuple[int, str]:
    """Run `python -m` and return its status, -1 after 20 seconds, and what it printed."""
    module = ["whether.cli", *words[1:]] if words[0] == "whether" else list(words)
    try:
        done = subprocess.run(
            [str(places.python), "-m", *module], cwd=place, env=places.scratch.environment, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return -1, f"{words}: more than {SECONDS} s\n{(error.stderr or b'').decode('utf-8', 'replace')}"
    return done.returncode, (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")


def judged(status: int, text: str, *, fails: bool) -> list[str]:
    """Return what is wrong with how a command ended."""
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if "Traceback (most recent call last)" in text:
        return ["tracebacks"]
    if status == -1:
        return ["hangs"]
    if fails and status == 1 and not errors:
        return []
    if status not in (0, 1, 2) or len(errors) != (status != 0):
        return ["wrong_exits"]
    return ["unplaced"] if errors and not PLACED.search(text[text.index("error: ") + 7 :]) else []


def whole(place: Path) -> bool:
    """Return whether nothing is half-written: no temporary file is left, and every record can be read."""
    for root in ("artifacts", "retrain", "data"):
        for file in (place / root).rglob("*"):
            hidden = file.name.startswith(".") and file.name not in (".lock", ".gitignore")
            if hidden and not file.name.endswith((".lock", ".partial")):
                return False
    made = [file for name in ("prepare", "generate") for file in (place / "artifacts" / name).rglob("*.json*")]
    try:
        for file in made:
            _ = json.loads(file.read_text()) if file.suffix == ".json" else json_lines(file)
    except ValueError:
        return False
    return True


def lost(family: Family, rows: Sequence[Row], place: Path) -> list[str]:
    """Return that rows vanished, or that one was kept that did not go in, if that is so."""
    assert family.found
    try:
        found = family.found(place)
    except (OSError, IndexError):
        return []  # the run ended before it took anything in
    texts = [row for row in rows if all(map(is_text, row.values()))]
    went_in = {(same(row["text"]), same(row["label"])) for row in texts}
    others = [pair for pair in found.kept if tuple(map(same, pair)) not in went_in]
    return ["silent_losses"] * (found.accounted != len(rows) or len(others) > len(rows) - len(texts))


def same(text: str | None) -> str:
    """Return what makes two texts the same: no spaces around them, and no difference of composition."""
    return unicodedata.normalize("NFC", (text or "").strip())


def table(found: Sequence[Ended]) -> str:
    """Return a line for each family."""
    lines = [["family", "inputs", *FAULTS]]
    for name in [*dict.fromkeys(ended.family for ended in found), "all"]:
        those = [ended for ended in found if name in (ended.family, "all")]
        counts: Any = Counter(fault for ended in those for fault in ended.faults)
        lines.append([name, str(len(those)), *(str(counts[fault]) for fault in FAULTS)])
    return "\n".join("  ".join(cell.rjust(13) for cell in line) for line in lines)


if __name__ == "__main__":
    sys.exit(main())
