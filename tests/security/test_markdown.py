"""Names, labels and answers in Markdown are text: in `whether verdict --markdown`, in MLflow's notes, in cards."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from whether.printing.markdown import code, escaped, fenced
from whether.printing.terminal import printable

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = st.text(st.sampled_from("ab _*`[]()<>!|\\#&~$@-+=:/\n\r\t\"'{}\u202e\x1b1.") | st.characters(codec="utf-8"))


def leaves(tokens: list[Any]) -> list[Any]:
    return [leaf for token in tokens for leaf in (leaves(token.children) if token.children else [token])]


def text_of(markdown: str, allowed: set[str]) -> str:
    """The text that a reader sees; an assertion where anything else than that is made of it."""
    tokens = PARSER.parse(markdown)
    found = {token.type for token in leaves(tokens)}
    assert found <= allowed, found - allowed
    return "".join(token.content for token in leaves(tokens) if token.type in ("text", "text_special", "code_inline"))


@given(HOSTILE)
@example("[click](javascript:alert(1)) ![x](http://evil/x.png) <script>alert(1)</script> **b** `c`")
@example("a | b |\n\n# title\n- item")
@example("&lt;b&gt; \\")
@example("base-zero_shot _x_ __y__")
def test_escaped_text_is_only_text(text: str) -> None:
    plain = {"text", "text_special", "inline", "bullet_list_open", "bullet_list_close", "list_item_open",
             "list_item_close", "paragraph_open", "paragraph_close"}  # fmt: skip
    assert text_of(f"- reason: x{escaped(text)}x", plain) == f"reason: x{printable(' '.join(text.split()))}x"


@given(HOSTILE)
def test_code_is_only_code(text: str) -> None:
    allowed = {"text", "code_inline", "inline", "paragraph_open", "paragraph_close"}
    text_of(f"x {code(text)} x", allowed)


@given(HOSTILE, HOSTILE)
def test_a_table_keeps_its_cells(one: str, other: str) -> None:
    tokens = PARSER.parse(f"| a | b |\n|---|---|\n| x{escaped(one)}x | {code(other)} |\n")
    assert sum(token.type == "td_open" for token in tokens) == 2
    assert sum(token.type == "tr_open" for token in tokens) == 2


@given(HOSTILE)
def test_a_fence_holds(text: str) -> None:
    kinds = [token.type for token in PARSER.parse(f"{fenced(text)}\n\nafter")]
    assert kinds == ["fence", "paragraph_open", "inline", "paragraph_close"]


@pytest.mark.parametrize("name", ["base-zero_shot", "lora_r8-few_shot", "it costs 3.5 points (1.0 to 6.0), p < 0.01"])
def test_ordinary_text_can_be_read_as_it_stands(name: str) -> None:
    assert escaped(name).replace("\\<", "<") == name
