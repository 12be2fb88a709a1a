import random

import pytest
import torch

from whether.engine.caches import PrefixCache
from whether.engine.prefix_tree import Pass, PrefixTree
from whether.engine.tree_attention import (
    BLOCK,
    MIN_BRANCH_NODES,
    MULTIPLE,
    BranchLayout,
    block_layout,
    pass_layout,
    tree_mask,
)


def random_tree(seed: int, vocabulary: int, branches: int = 12, longest: int = 90) -> PrefixTree:
    """Sequences off one stem, some of which branch again."""
    choose = random.Random(seed)

    def tokens(count):
        return tuple(choose.randrange(vocabulary) for _ in range(count))

    stem = tokens(choose.randrange(40))
    sequences = []
    for _ in range(branches):
        query = stem + tokens(choose.randint(1, longest))
        sequences += [query + tokens(choose.randrange(5)) for _ in range(choose.randint(1, 4))]
    return PrefixTree(sequences)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_nodes", [7, 64, 512])
def test_blocks_and_one_mask_give_the_same_logits(tiny, seed, max_nodes):
    tree = random_tree(seed, tiny.model.config.vocab_size)
    blocks, dense = PrefixCache(tiny.model, 700, with_layout=True), PrefixCache(tiny.model, 700, with_layout=False)
    with torch.inference_mode():
        for step in tree.passes(max_nodes, len(tree.sequences)):
            nodes = range(len(step.tokens))
            torch.testing.assert_close(blocks.run(step, nodes), dense.run(step, nodes), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_blocks_hold_each_node_once_and_show_what_the_mask_shows(seed):
    tree = random_tree(seed, 1000)
    for step in tree.passes(256, 1000):
        blocks = block_layout(step, torch.float32)
        queries, keys = blocks.queries, blocks.keys
        assert torch.equal(queries.reshape(-1)[blocks.place], torch.arange(len(step.tokens)))
        assert queries.shape[1] <= BLOCK
        assert queries.shape[1] % MULTIPLE == keys.shape[1] % MULTIPLE == 0
        shown = torch.zeros(len(step.tokens), len(step.tokens), dtype=torch.bool)
        for node, place in enumerate(blocks.place.tolist()):
            block, row = divmod(place, queries.shape[1])
            seen = keys[block, blocks.mask[block, 0, row] == 0]
            assert len(seen) == len(set(seen.tolist()))
            shown[node, seen] = True
        assert torch.equal(shown, tree_mask(step, torch.float32)[0, 0, :, step.cached :] == 0)


def test_blocks_see_no_more_than_they_need():
    branches = [[-1, *range(40 * start, 40 * start + 39)] for start in range(12)]
    parents = [parent for branch in branches for parent in branch]
    step = Pass(5, list(range(480)), parents, [5 + node % 40 for node in range(480)], 0, [])
    blocks = block_layout(step, torch.float32)
    assert blocks.queries.shape == (12, 40)
    assert blocks.keys.shape == (12, 40 + MULTIPLE)  # the last of them is the chain


def test_a_chain_and_long_branches_are_attended_to_one_by_one():
    chain = Pass(5, [1, 2, 3], [-1, 0, 1], [5, 6, 7], 0, [range(3)])
    (branch,) = pass_layout(chain, torch.float32).branches
    assert (branch.start, branch.end, branch.path) == (0, 3, None)
    parents = [*range(-1, MIN_BRANCH_NODES - 1), 9, *range(MIN_BRANCH_NODES, 2 * MIN_BRANCH_NODES - 1)]
    forked = Pass(0, [1] * len(parents), parents, [0] * len(parents), 0, [])
    first, second = pass_layout(forked, torch.float32).branches
    assert first.path is None
    assert (second.start, second.end, second.path.tolist()) == (MIN_BRANCH_NODES, 2 * MIN_BRANCH_NODES, list(range(10)))
    short = Pass(0, [1] * 160, [*range(-1, 79), 9, *range(80, 158), 9], [0] * 160, 0, [])
    assert not isinstance(pass_layout(short, torch.float32), BranchLayout)
