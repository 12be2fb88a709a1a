"""Both products are really timed, and once."""

import pytest


@pytest.mark.heavy
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_are_timed_once_for_a_precision(dtype: str) -> None:
    import torch

    from whether.model.packed_layers import packed_share

    threads = torch.get_num_threads()
    share = packed_share(getattr(torch, dtype), threads)
    assert 0 < share < float("inf")
    assert packed_share(getattr(torch, dtype), threads) == share


@pytest.mark.heavy
def test_a_packed_product_is_the_plain_one() -> None:
    import torch

    from whether.model.packed_layers import PackedWeight

    torch.manual_seed(0)
    layer, inputs, other = torch.nn.Linear(96, 64), torch.randn(2, 5, 96), torch.randn(2, 5, 64)
    with torch.inference_mode():
        packed, plain = PackedWeight.of([layer]), layer(inputs)
        torch.testing.assert_close(packed.linear(inputs), plain)
        torch.testing.assert_close(packed.linear(inputs, "swish"), torch.nn.functional.silu(plain))
        torch.testing.assert_close(packed.combined("add", other, inputs), other + plain)
        torch.testing.assert_close(packed.combined("mul", other, inputs), other * plain)
        assert torch.equal(packed.dense()[0], layer.weight)
