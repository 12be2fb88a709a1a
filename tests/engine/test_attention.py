import random

import pytest
import torch

from whether.engine.attention import BLOCK_MULTIPLE, lay_out, tree_mask
from whether.engine.caches import Chain
from whether.engine.prefix_tree import Pass, PrefixTree


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


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_nodes", [7, 64, 512])
def test_blocks_and_one_mask_give_the_same_logits(tiny, seed, max_nodes):
    tree = random_tree(seed, tiny.model.config.vocab_size)
    blocks, dense = Chain(tiny.model, in_blocks=True), Chain(tiny.model, in_blocks=False)
    with torch.inference_mode():
        for step in tree.passes(max_nodes, len(tree.sequences)):
            nodes = range(len(step.tokens))
            torch.testing.assert_close(blocks.run(step, nodes), dense.run(step, nodes), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_blocks_hold_each_node_once_and_show_what_the_mask_shows(seed):
    tree = random_tree(seed, 1000)
    for step in tree.passes(256, 1000):
        blocks = lay_out(step, torch.float32)
        flat = blocks.nodes.reshape(-1)
        assert torch.equal(flat[blocks.place], torch.arange(len(step.tokens)))
        if blocks.mask is None:
            continue
        width = blocks.nodes.shape[1]
        shown = torch.zeros(len(step.tokens), len(step.tokens), dtype=torch.bool)
        place = blocks.place
        for one in range(len(step.tokens)):
            for other in range(len(step.tokens)):
                block, row = divmod(int(place[one]), width)
                if int(place[other]) // width == block:
                    shown[one, other] = blocks.mask[block, 0, row, int(place[other]) % width] == 0
        assert torch.equal(shown, tree_mask(step, torch.float32)[0, 0, :, step.cached :] == 0)
        assert width % BLOCK_MULTIPLE == 0


def test_short_branches_share_a_block_and_a_chain_needs_no_mask():
    branches = Pass(5, list(range(9)), [-1, 0, 1] * 3, [5, 6, 7] * 3, 0, [range(3), range(3, 6), range(6, 9)])
    branches = branches._replace(parents=[-1, 0, 1, -1, 3, 4, -1, 6, 7])
    assert lay_out(branches, torch.float32).nodes.shape == (1, BLOCK_MULTIPLE)
    chain = Pass(5, [1, 2, 3], [-1, 0, 1], [5, 6, 7], 0, [range(3)])
    assert lay_out(chain, torch.float32).mask is None
