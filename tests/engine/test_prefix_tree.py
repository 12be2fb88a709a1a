"""The plan covers every token of every sequence once, in an order in which it can run."""

from hypothesis import given
from hypothesis import strategies as st

from whether.engine.prefix_tree import PrefixTree, common_prefix

# Three different tokens and short sequences make shared prefixes, repetitions and prefixes of prefixes likely.
SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple), min_size=1, max_size=20)


@given(SEQUENCES, st.integers(1, 40), st.integers(1, 6), st.integers(0, 5))
def test_passes_rebuild_every_sequence(sequences, max_nodes, max_leaves, pass_cost):
    tree = PrefixTree(sequences)
    assert tree.sequences == sorted(set(sequences))
    rebuilt = [[] for _ in tree.sequences]
    cache: list[int] = []
    nodes = 0
    for passes, step in enumerate(tree.passes(max_nodes, max_leaves, pass_cost), 1):  # noqa: B007 - the last one counts
        assert 0 < len(step.tokens) <= max_nodes
        assert all(parent < node for node, parent in enumerate(step.parents))
        del cache[step.cached :]
        assert len(cache) == step.cached
        leaves = 0
        for index, path in enumerate(step.paths, step.first):
            assert tuple(cache) == tree.sequences[index][: step.cached], "the chain is not this sequence's beginning"
            assert [step.depths[node] for node in path] == list(range(step.cached, step.cached + len(path)))
            assert [step.parents[node] for node in path] == [-1, *path[:-1]]
            rebuilt[index] += [step.tokens[node] for node in path]
            leaves += len(rebuilt[index]) == len(tree.sequences[index])
        assert leaves <= max_leaves
        cache += step.tokens
        nodes += len(step.tokens)
    assert list(map(tuple, rebuilt)) == tree.sequences
    distinct = {sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)}
    assert nodes <= len(distinct) + pass_cost * passes, "shared tokens were computed again too often"


@given(SEQUENCES)
def test_order_of_sequences_does_not_matter(sequences):
    assert list(PrefixTree(sequences).passes(5, 3)) == list(PrefixTree(sequences[::-1]).passes(5, 3))


def test_everything_small_is_one_pass():
    (step,) = PrefixTree([(1, 2, 3), (1, 2, 4, 5), (1, 2)]).passes(10, 10)
    assert step.tokens == [1, 2, 3, 4, 5]
    assert step.parents == [-1, 0, 1, 1, 3]
    assert [list(path) for path in step.paths] == [[0, 1], [0, 1, 2], [0, 1, 3, 4]]


def test_long_sequence_is_cut_evenly():
    assert [len(step.tokens) for step in PrefixTree([tuple(range(13))]).passes(6, 1)] == [5, 5, 3]


def test_thousands_of_nested_prefixes_do_not_recurse():
    whole = tuple(range(3000))
    tree = PrefixTree([whole[:end] for end in range(1, 3001)])
    assert sum(len(step.tokens) for step in tree.passes(4, 2)) == 3000


def test_no_sequences_no_passes():
    assert list(PrefixTree([]).passes(4, 4)) == []


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_common_prefix(one, other):
    length = common_prefix(one, other)
    assert one[:length] == other[:length]
    assert one[length : length + 1] != other[length : length + 1] or length == len(one) == len(other)
