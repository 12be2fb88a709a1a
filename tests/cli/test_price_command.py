"""`whether price`: what it prints goes into a checkpoint's file."""

import pytest
import yaml

from whether.cli.app import command
from whether.config import ServedConfig, TokenPrice
from whether.errors import SourceError


@pytest.mark.parametrize("address", [[], ["https://api.openai.com/v1"]])
def test_what_is_printed_goes_into_a_checkpoints_file(address: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command(["price", "gpt-4o-mini", *address])
    fields = yaml.safe_load(capsys.readouterr().out)
    served = ServedConfig(
        base_url="https://api.openai.com/v1", model="gpt-4o-mini", price=TokenPrice(**fields["price"])
    )
    assert served.price is not None
    assert served.price.usd(1_000_000, 1_000_000) == pytest.approx(0.75)


def test_a_model_that_is_not_listed_is_said() -> None:
    with pytest.raises(SourceError, match="no price of 'mine'"):
        command(["price", "mine", "https://x/v1?api-version=1"])
