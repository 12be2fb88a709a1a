"""The answer in an output that does not keep to the form asked for, and the leniencies that it takes to read it.

The strict form of an output stays what `OutputKind.parse` reads, and `valid outputs` counts that. Quality counts the
answer that a person would see in the output, for every arm alike: otherwise a model that has not been tuned loses by
its Markdown and not by what it knows. A wrong reading is worse than none, so each leniency takes off something known
and what is left must be an answer again; nothing looks for an answer somewhere in an output.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from whether.records import LENIENCIES


class Reading(NamedTuple):
    """The answer in an output, and what it took to read it."""

    answer: str | None
    """None where no answer is given, or more than one."""
    leniencies: tuple[str, ...] = ()
    """Names in `LENIENCIES`, in their order; empty where the output has the form asked for, or no answer."""

    @property
    def exact(self) -> bool:
        """Whether the output has the form asked for."""
        return self.answer is not None and not self.leniencies


NO_ANSWER = Reading(None)
Read = Callable[[str], Reading]
"""From an output to the answer in it."""

_WORDS = r"(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad)"
_OPEN = re.compile(
    rf"<(?:seed:)?{_WORDS}>|\[THINK\]|◁think▷|<\|(?:START_THINKING|begin_of_thought)\|>|<\|channel\|>analysis<\|message\|>",
    re.IGNORECASE,
)
_CLOSE = re.compile(
    rf"</(?:seed:)?{_WORDS}>|\[/THINK\]|◁/think▷|<\|(?:END_THINKING|end_of_thought)\|>|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
_BARE_CHANNELS = re.compile(r"\Aanalysis(?=\S).*assistantfinal", re.DOTALL)
"""The marks of the two channels of gpt-oss, where a server has left out their special tokens."""
_OF_TURN = (
    r"(?:<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|</?(?:s|eos|bos|pad|unk|end_of_utterance)>|<(?:start|end)_of_turn>"
    r"|\[/?INST\])"
)
_BEGINNING = re.compile(rf"\A\s*(?:{_OF_TURN}\s*(?:(?:assistant|model|final)\b\s*)?)+|\A\s*assistant\s*\n")
_END = re.compile(_OF_TURN)


class CleanedOutput(NamedTuple):
    """An output without what stands before and after an answer of any kind."""

    text: str
    """Empty where the output ends within its thought."""
    leniencies: tuple[str, ...]


def cleaned(output: str) -> CleanedOutput:
    """Return an output without blocks of thought and without tokens that begin and end turns."""
    used, text = [], output
    for name, without in (("thought", without_thought), ("end_token", without_turn_tokens)):
        left = without(text)
        if left != text:
            used.append(name)
        text = left
    return CleanedOutput(text, tuple(used))


def without_thought(text: str) -> str:
    """Return what follows the last block of thought, or stands before it where nothing follows.

    A block that is not closed was cut off: nothing follows it. One that is not opened began in the prompt.
    """
    if "<" in text or "[" in text or "◁" in text:
        closings = list(_CLOSE.finditer(text))
        after = text[closings[-1].end() :] if closings else text
        if closings and not after.strip():
            after = text
        opened = _OPEN.search(after)
        return after[: opened.start()] if opened else after
    bare = _BARE_CHANNELS.match(text)
    return text[bare.end() :] if bare else text


def without_turn_tokens(text: str) -> str:
    """Return a text up to the first token that ends a turn, without those that begin it."""
    if "<" not in text and "[" not in text and "assistant" not in text:
        return text
    beginning = _BEGINNING.match(text)
    body = text[beginning.end() :] if beginning else text
    found = _END.search(body)
    if not found:
        return body
    if beginning and found[0] == "</s>" and body[found.end() :].strip():
        return text  # what is struck out in HTML looks the same
    return body[: found.start()]


def read_leniently(output: str, parse: Callable[[str], str | None]) -> Reading:
    """Return what a strict rule reads of an output, thought and tokens of turns left out: the reader of any kind."""
    text, used = cleaned(output)
    answer = parse(text) if text.strip() or not used else None
    return Reading(answer, used) if answer is not None else NO_ANSWER


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return leniencies in the order of `LENIENCIES`, each once."""
    return tuple(name for name in LENIENCIES if name in names)
