"""Malformed inputs made from real ones: hypothesis strategies for bytes, text, rows, documents and command lines.

Each strategy takes what is right and draws one to three changes. What was drawn last is shrunk by nobody: the campaign
(benchmarks/fuzz.py) keeps every input that went wrong as it is.
"""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Row = dict[str, Any]
PIECES = [
    b"", b"\0", b"\r", b"\n", b"\r\n", b"\t", b'"', b"'", b",", b";", b"{", b"}", b"[", b"]", b":", b"- ", b"#", b"&a ",
    b"*a", b"!!python/object/apply:os.system [true]", b"<<: ", b"|\n", b"%", b"\\", b"\\ud800", b"\\u0000", b"NaN",
    b"1e999", b"-Infinity", b"null", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xe2\x80\xa8",
    b"\x1b[2J", b"\x1a", b"<|im_end|>", b"{{ 7*7 }}", b"{% for x in y %}", b"${oc.env:HOME}", b"${x", b"../../x",
    b"=1+1", b"a" * 70_000, b"[" * 3000, "é".encode(), "é".encode(), "\U0001f469\u200d\U0001f52c".encode(),
]  # fmt: skip
"""What files that people send turn out to hold where it was not expected."""
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 1.0, -0.0, 10**30, 2**63, 1e308, float("inf"), float("nan"), "", " ", "\0", "\n",
    "nan", "None", "null", "true", "1", "1.0", "1e5", "0x10", "2026-01-01", "\ud800", "\u202e", "\u2028", "a" * 70_000,
    "{{ x }}", "{labels}", "<|im_end|>",
    "../x", "/", "~", "\x1b[31m", "=1+1", [], {}, [None], [1, "a"], ["a"], {"a": None},
    {"text": "x"}, [{"role": "user", "content": "x"}], [[[[[]]]]],
]  # fmt: skip
DEEP: Any = {}
for _ in range(200):
    DEEP = {"a": DEEP}


def values() -> st.SearchStrategy[Any]:
    """A value that was not expected."""
    # A copy: a later change may go into it.
    return st.sampled_from([*VALUES, DEEP]).map(copy.deepcopy) | st.text(max_size=20) | st.integers() | st.floats()


@st.composite
def changed_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Cut, repeat, turn over, insert and replace parts of a file."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(whole)))
        end = min(len(whole), start + draw(st.sampled_from([0, 1, 2, 8, 64, 10**9])))
        what = draw(st.integers(0, 4))
        part = whole[start:end]
        put = [b"", part + part, part[::-1], draw(st.sampled_from(PIECES)), draw(st.binary(max_size=8))][what]
        whole = whole[:start] + put + whole[end:]
    return whole


@st.composite
def changed_rows(draw: st.DrawFn, rows: Sequence[Row]) -> list[Row]:
    """Put values that were not expected into cells; drop, add, rename, repeat and reorder."""
    made = [dict(row) for row in rows]
    for _ in range(draw(st.integers(1, 4))):
        if not made:
            return made
        place = draw(st.integers(0, len(made) - 1))
        row = made[place]
        name = draw(st.sampled_from([*row, "extra"]))
        what = draw(st.integers(0, 8))
        if what <= 3:
            row[name] = draw(values())
        elif what == 4:
            row.pop(name, None)
        elif what == 5:
            row[draw(st.sampled_from([name.upper(), f" {name}", f"\ufeff{name}", "", "label", "text"]))] = row.pop(
                name, "x"
            )
        elif what == 6:
            made.insert(place, dict(row))
        elif what == 7:
            made = made[: draw(st.sampled_from([0, 1, 2, place]))]
        else:
            value = draw(values())
            made = [{**one, name: value} for one in made]
    return made


@st.composite
def changed_document(draw: st.DrawFn, document: Any) -> Any:
    """Replace, drop, rename and wrap nodes of a JSON or YAML document."""
    made = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        nodes = list(_nodes(made))
        if not nodes:
            return draw(values())
        holder, key = draw(st.sampled_from(nodes))
        what = draw(st.integers(0, 5))
        if what <= 2:
            holder[key] = draw(values())
        elif what == 3:
            del holder[key]
        elif what == 4:
            holder[key] = [holder[key]]
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from([f"{key}s", str(key).upper(), "", "_target_", "x"]))] = holder.pop(key)
    return made


def _nodes(document: Any) -> list[tuple[Any, Any]]:
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [found for key, value in list(pairs) for found in ((document, key), *_nodes(value))]


@st.composite
def changed_words(draw: st.DrawFn, words: Sequence[str]) -> list[str]:
    """Give settings values that do not fit, and words that are none."""
    made = list(words)
    for _ in range(draw(st.integers(1, 2))):
        word = draw(st.sampled_from(made))
        key = word.partition("=")[0]
        what = draw(st.integers(0, 5))
        if what <= 2:
            put = json.dumps(draw(values()))[:2000] if what else str(draw(values()))[:2000]
            made.append(f"{key}={put}")
        elif what == 3:
            before = draw(st.sampled_from(["+", "++", "~", "-", "", "@"]))
            made.append(f"{before}{key}{draw(st.sampled_from(['', '=', '.x=1', '[0]=1']))}")
        else:
            broken = draw(changed_bytes(word.encode()))[:2000]
            made.append(broken.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
    return made


def either(*strategies: Callable[[], st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Draw from one of several strategies, each as often."""
    return st.one_of([one() for one in strategies])
