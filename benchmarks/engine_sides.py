"""One side of benchmarks/peers.py, in a process of its own: `whether` or `vllm`, at a precision.

    python engine_sides.py whether float32 WORK

WORK is the file that benchmarks/peers.py writes. A line that names a row is answered with the seconds that it took and
what came out. The peer's environment need not have this project installed.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contestants import serve

Tokens = list[int]
Rows = dict[str, Callable[[], Any]]
"""Row → what answers it: log-likelihoods, or the tokens of each answer."""


def whether_rows(work: dict[str, Any], dtype: str) -> Rows:
    """Return our side."""
    from whether.config import ModelConfig
    from whether.engine.local import LocalModel
    from whether.engine.requests import ScoringRequest
    from whether.records import Decoding

    config = ModelConfig(name="benchmark", source={"_target_": "none"}, licence="", dtype=dtype)  # type: ignore[arg-type]
    local = LocalModel.load(Path(work["model"]), None, config)
    requests = [ScoringRequest(tuple(context), tuple(rest)) for context, rest in work["score_labels"]]

    def answers(prompts: list[Tokens], tokens: int, *, whole: bool = False) -> list[Tokens]:
        decoding = Decoding(tokens, stop=() if whole else ("\n",))
        if whole:  # to the last token, as the peers: nothing ends an answer
            local.eos_token_ids = frozenset()
        try:
            found = local.generate_tokens(prompts, decoding)
        finally:
            local.eos_token_ids = frozenset(work["eos"])
        return [list(one.token_ids or ()) for (one,) in found]

    def single() -> list[Tokens]:
        with local.keeping_prefix():
            return [answers([prompt], work["single_tokens"], whole=True)[0] for prompt in work["single_requests"]]

    return {
        "score_labels": lambda: [one.log_likelihood for one in local.loglikelihoods(requests)],
        "short_answers": lambda: answers(work["short_answers"], work["short_tokens"]),
        "neighbours": lambda: answers(work["neighbours"], work["short_tokens"]),
        "long_answers": lambda: answers(work["long_answers"], work["long_tokens"], whole=True),
        "single_requests": single,
    }


def vllm_rows(work: dict[str, Any], dtype: str) -> Rows:
    """Return vLLM at its best on a CPU: in this process, compiled, small blocks so that it shares more of a prefix."""
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    from vllm import LLM, SamplingParams, TokensPrompt

    llm = LLM(
        work["model"], dtype=dtype, max_model_len=2048, kv_cache_memory_bytes=2**30, enable_prefix_caching=True,
        block_size=32, disable_log_stats=True,
    )  # fmt: skip

    def run(prompts: list[Tokens], settings: Any) -> list[Any]:
        asked = [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts]
        found: list[Any] = llm.generate(asked, settings, use_tqdm=False)
        return found

    def answers(prompts: list[Tokens], tokens: int, *, whole: bool = False) -> list[Tokens]:
        ending = {"ignore_eos": True} if whole else {"stop": ["\n"], "stop_token_ids": work["eos"]}
        found = run(prompts, SamplingParams(temperature=0, max_tokens=tokens, **ending))
        return [list(one.outputs[0].token_ids) for one in found]

    def scores() -> list[float]:
        # A request for each node of the tree of labels: its next tokens' log-probabilities.
        nodes: dict[tuple[int, ...], set[int]] = {}
        for context, rest in work["score_labels"]:
            for place, token in enumerate(rest):
                nodes.setdefault((*context, *rest[:place]), set()).add(token)
        settings = [
            SamplingParams(temperature=0, max_tokens=1, detokenize=False, logprob_token_ids=sorted(tokens))
            for tokens in nodes.values()
        ]
        found = run([list(node) for node in nodes], settings)
        known = {node: one.outputs[0].logprobs[0] for node, one in zip(nodes, found, strict=True)}
        return [
            sum(known[(*context, *rest[:place])][token].logprob for place, token in enumerate(rest))
            for context, rest in work["score_labels"]
        ]

    def fresh(call: Callable[[], Any]) -> Callable[[], Any]:
        def fresh_call() -> Any:
            assert llm.reset_prefix_cache() is not False
            return call()

        return fresh_call

    rows = {
        "score_labels": scores,
        "short_answers": lambda: answers(work["short_answers"], work["short_tokens"]),
        "neighbours": lambda: answers(work["neighbours"], work["short_tokens"]),
        "long_answers": lambda: answers(work["long_answers"], work["long_tokens"], whole=True),
        "single_requests": lambda: [
            answers([prompt], work["single_tokens"], whole=True)[0] for prompt in work["single_requests"]
        ],
    }
    return {name: fresh(row) for name, row in rows.items()}


SIDES = {"whether": whether_rows, "vllm": vllm_rows}


def main() -> None:
    """Load the model and answer."""
    side, dtype, file = sys.argv[1:]
    work = json.loads(Path(file).read_text(encoding="utf-8"))
    rows = SIDES[side](work, dtype)

    def answered(row: str) -> dict[str, Any]:
        gc.collect()
        start = time.perf_counter()
        found = rows[row]()
        return {"seconds": time.perf_counter() - start, "found": found}

    print(json.dumps({"ready": side}), flush=True)
    serve(answered)


if __name__ == "__main__":
    main()
