"""The engine against lm-eval's `hf` backend: the same model, requests, precision and threads, in one run.

    make run                                  # once: data and model
    python benchmarks/engine.py               # the table
    python benchmarks/engine.py --quick       # the same within 12 minutes: hf answers a stated sample
    python benchmarks/engine.py --json        # one JSON object

`hf` gets its best of several batch sizes, found on a sample. Where it answers a sample, its time is scaled by the
tokens of all requests to those of the sample. Our side always answers all, from texts to results, and is timed in
turns with it; the median counts. `hf` has the model as transformers loads it: plain weights, `sdpa`. The share of the
machine's peak is that of its best matrix product: torch's own, or oneDNN's with a packed weight. The rates of vLLM and
llama.cpp, each in an environment of its own, are those of benchmarks/peers.py.
"""

import argparse
import gc
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import median
from typing import Any, NamedTuple

from peers import measure_peers
from peers import table as peers_table
from workloads import ARTIFACTS, CHOICE_TASK, QUERIES, Workload, multiple_choice, snips, work

from whether import entry

REPEATS = 3
"""Timed runs of our side."""
SAMPLE = 8
"""Queries that the peer answers to find its batch size, and with --quick in all."""
BATCH_SIZES = (1, 4, 16)
DTYPES = ("float32", "bfloat16")
SIZES = (512, 1024, 2048, 4096)
"""Sides of the square matrices whose product's best rate is the machine's peak."""


class Row(NamedTuple):
    """One workload in one precision."""

    dtype: str
    key: str
    title: str
    ours: float
    """Seconds for all requests: the median of the runs."""
    peer: float
    """Seconds for all requests, scaled if the peer answered a sample."""
    peer_batch_size: int
    peer_requests: int
    requests: int
    difference: float | None
    """Largest difference of a log-likelihood; None for texts."""
    peer_difference: float | None
    """The same between the peer at one batch size and at another, on the sample: what rounding alone does."""
    agreement: float
    """Share of queries with the same most likely choice, or of texts that are equal."""
    computed_share: float | None
    """Tokens computed by those in the requests."""
    peak_share: float | None
    """Operations a second by those of the machine's best matrix product: both of their fastest run."""

    @property
    def ratio(self) -> float:
        """How many times faster we are."""
        return self.peer / self.ours


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"the peer answers {SAMPLE} queries of each kind")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="only this precision; default: both")
    parser.add_argument("--only", action="append", help="only the workload of this key, such as generation")
    parser.add_argument(
        "--choice-task", default=CHOICE_TASK, help="a task of the retention suite (default: %(default)s)"
    )
    parser.add_argument("--no-peers", action="store_true", help="only hf; not vLLM and llama.cpp")
    options = parser.parse_args()
    entry.prepare_process()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    rows = []
    for dtype in options.dtype or DTYPES:
        rows += measure(dtype, options.choice_task, options.only, quick=options.quick)
    peers = {} if options.no_peers else measure_peers(options.dtype or DTYPES, quick=options.quick)
    if options.json:
        print(json.dumps(summary(rows) | peers))
    else:
        print("\n\n".join([table(rows), *([peers_table(peers)] if peers else [])]))


def measure(dtype: str, choice_task: str, only: Sequence[str] | None, *, quick: bool) -> list[Row]:
    """Return a row for each workload."""
    import torch
    from lm_eval.models.huggingface import HFLM

    from whether.config import ModelConfig
    from whether.engine.lm_eval_model import EngineLM
    from whether.engine.local import LocalModel
    from whether.model.loading import load_base

    config = ModelConfig(name="benchmark", source={"_target_": "none"}, licence="", dtype=dtype)  # type: ignore[arg-type]
    local = LocalModel.load(ARTIFACTS / "model", None, config)
    engine = EngineLM(local)
    plain, _ = load_base(ARTIFACTS / "model", local.model.dtype)
    plain = plain.to(local.device).eval().requires_grad_(False)
    peak = peak_rate(local.model.dtype)
    note(f"{dtype}: {torch.get_num_threads()} threads, matrix products at {peak / 1e9:,.0f} GFLOP/s")
    rows = []
    for workload in [*snips(), multiple_choice(choice_task, QUERIES)]:
        if only and workload.key not in only:
            continue
        peers = {
            size: HFLM(plain, tokenizer=local.tokenizer, batch_size=size, device=str(local.device))
            for size in BATCH_SIZES
        }
        rows.append(compare(workload, engine, peers, peak, quick=quick))
    return rows


def compare(workload: Workload, engine: Any, peers: dict[int, Any], peak: float, *, quick: bool) -> Row:
    """Measure one workload in turns with the peer at its best batch size."""
    instances, group = workload.instances, workload.group
    sample = spread(instances, group, SAMPLE)
    trials = {size: timed(peer, workload.kind, sample) for size, peer in peers.items()}
    best = min(trials, key=lambda size: trials[size][0])
    asked = sample if quick else instances
    timed(engine, workload.kind, sample)
    runs = [timed(engine, workload.kind, instances)]
    seconds, theirs = timed(peers[best], workload.kind, asked)
    runs += [timed(engine, workload.kind, instances) for _ in range(REPEATS - 1)]
    ours = median(run[0] for run in runs)
    peak = max(peak, peak_rate(engine.local.model.dtype))
    place = {id(instance): index for index, instance in enumerate(instances)}
    mine = [runs[0][1][place[id(instance)]] for instance in asked]
    scale = tokens(engine, instances) / tokens(engine, asked)
    scoring = workload.kind == "loglikelihood"
    needed = work(engine.local.model, engine.tokenizer, workload) if scoring else None
    row = Row(
        dtype=str(engine.local.model.dtype).removeprefix("torch."),
        key=workload.key,
        title=workload.title,
        ours=ours,
        peer=seconds * scale,
        peer_batch_size=best,
        peer_requests=len(asked),
        requests=len(instances),
        difference=largest_difference(mine, theirs) if scoring else None,
        peer_difference=max(largest_difference(a[1], b[1]) for a, b in combinations(trials.values(), 2))
        if scoring
        else None,
        agreement=agreement(mine, theirs, group if scoring else 1),
        computed_share=needed.computed / needed.asked if needed else None,
        peak_share=needed.operations / min(run[0] for run in runs) / peak if needed else None,
    )
    note(f"  {row.title}: {row.ours:.1f} s, hf {row.peer:,.0f} s, {row.ratio:.1f} times")
    return row


def spread(instances: Sequence[Any], group: int, queries: int) -> list[Any]:
    """Return the requests of evenly spaced queries."""
    count = len(instances) // group
    chosen = [round(index * (count - 1) / (queries - 1)) for index in range(queries)]
    return [instance for query in chosen for instance in instances[query * group : (query + 1) * group]]


def timed(model: Any, kind: str, instances: Sequence[Any]) -> tuple[float, list[Any]]:
    """Return the seconds that an lm-eval model takes for instances, and its answers."""
    gc.collect()
    start = time.perf_counter()
    answers = getattr(model, kind)(list(instances), disable_tqdm=True)
    return time.perf_counter() - start, answers


def tokens(engine: Any, instances: Sequence[Any]) -> int:
    """Return the tokens of prompts and what follows them."""
    texts = [
        instance.args[0] + (instance.args[1] if isinstance(instance.args[1], str) else "") for instance in instances
    ]
    return sum(len(engine.tok_encode(text)) for text in texts)


def largest_difference(one: Sequence[Any], other: Sequence[Any]) -> float:
    """Return by how much a log-likelihood differs at most."""
    return max(abs(a[0] - b[0]) for a, b in zip(one, other, strict=True))


def agreement(mine: Sequence[Any], theirs: Sequence[Any], group: int) -> float:
    """Return the share of queries whose best choice, or text, is the same."""
    if group == 1:
        return sum(a == b for a, b in zip(mine, theirs, strict=True)) / len(mine)
    queries = range(0, len(mine), group)

    def choice(scores: Sequence[Any], start: int) -> int:
        return max(range(group), key=lambda index: scores[start + index][0])

    return sum(choice(mine, start) == choice(theirs, start) for start in queries) / len(queries)


def peak_rate(dtype: Any) -> float:
    """Return operations a second of a square matrix product: the best of several, of the best size and way."""
    import torch

    from whether.model.packed_layers import PackedWeight

    def rate(size: int) -> float:
        one, layer = torch.randn(size, size).to(dtype), torch.nn.Linear(size, size, bias=False, dtype=dtype)
        packed = PackedWeight.of([layer])
        with torch.inference_mode():
            ways = (lambda: one @ layer.weight), (lambda: packed.linear(one))
            return 2 * size**3 / min(_seconds(way) for way in ways for _ in range(5))

    return max(map(rate, SIZES))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the object that --json prints: float32 ratios by workload, the best share of the peak, and every row."""
    exact = [row for row in rows if row.dtype == "float32"]
    scored = [row for row in exact if row.difference is not None]
    shares = [row.peak_share for row in rows if row.dtype == "bfloat16" and row.peak_share]
    return {
        **{f"{row.key}_ratio": row.ratio for row in exact},
        "max_abs_diff_float32": max((row.difference for row in scored), default=None),
        "argmax_agreement": min((row.agreement for row in exact), default=None),
        "peak_share": max(shares, default=None),
        "rows": [row._asdict() | {"ratio": row.ratio} for row in rows],
    }


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| precision | workload | requests | engine, s | hf, s | faster | hf batch | hf answered | largest difference"
        " | between hf's batches | same answer | tokens computed | of peak |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [
            row.dtype, row.title, f"{row.requests:,}", f"{row.ours:.2f}", f"{row.peer:,.1f}", f"**{row.ratio:.1f}×**",
            str(row.peer_batch_size), f"{row.peer_requests:,}", _number(row.difference, ".1e"),
            _number(row.peer_difference, ".1e"), f"{row.agreement:.1%}",
            _number(row.computed_share, ".1%"), _number(row.peak_share, ".0%"),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def note(text: str) -> None:
    """Say on standard error how far the run is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
