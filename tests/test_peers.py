"""benchmarks/peers.py without its peers: a side that ends leaves the others, and what was not measured is null."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ANSWERS = """
import sys
for line in sys.stdin:
    if line.strip() == {dies_at!r}:
        print('{{"seconds": 1', end="", flush=True)
        sys.exit("no memory left")
    print('{{"seconds": 0.5, "found": [[1, 2]]}}', flush=True)
"""


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("peers")
    for name in set(sys.modules) - before:  # `peers` and its neighbours are no names for the rest of the session
        if "benchmarks" in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_side_that_ends_in_a_row_leaves_the_others(peers: ModuleType) -> None:
    missing: dict[str, str] = {}
    results = peers.Results("float32", missing)

    def side(name: str, dies_at: str) -> Any:
        return peers.Side(name, [sys.executable, "-c", ANSWERS.format(dies_at=dies_at)])

    with side("whether", "") as ours, side("llama.cpp", "neighbours") as peer:
        alive = [ours, peer]
        for row in ("short_answers", "neighbours", "long_answers"):
            alive = peers._turns(row, alive, 2, results)
    assert [one.name for one in alive] == ["whether"]
    assert results.seconds["llama.cpp"] == {"short_answers": [0.5, 0.5]}
    assert list(results.seconds["whether"]) == ["short_answers", "neighbours", "long_answers"]
    assert missing == {"llama.cpp in float32, from neighbours on": "llama.cpp ended with status 1: no memory left"}
    difference = peers._difference(results.found["whether"], results.found["llama.cpp"])
    assert difference["short_answers"] == 1
    assert difference["neighbours"] is None


def test_what_was_not_measured_is_null(peers: ModuleType) -> None:
    nothing = dict.fromkeys(peers.ROWS)
    sides = {"whether": dict.fromkeys(peers.ROWS, 6.0), "vllm": nothing, "llama.cpp": nothing | {"neighbours": 4.0}}
    ratios = {f"{row}_vs_best_peer_float32": peers._ratio(sides, row) for row in peers.ROWS}
    assert ratios.pop("neighbours_vs_best_peer_float32") == 1.5
    assert set(ratios.values()) == {None}
    assert peers._ratio(sides | {"whether": nothing}, "neighbours") is None
    found = {"peer_rates": {"float32": sides}, "peers_missing": {"vllm": "no wheel"}}
    shown = peers.table(found | ratios | {"neighbours_vs_best_peer_float32": 1.5})
    assert "| float32 | nearest-neighbour prompts, queries/s | 6.0 |  | 4.0 | 1.50 |" in shown
    assert shown.endswith("vllm: no wheel")


def test_without_a_compiler_llama_cpp_says_so(peers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(peers.InstallationError, match="built from source, and the compiler cc was not found"):
        peers.LlamaCpp()
