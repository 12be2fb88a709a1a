"""What a prompt asks of the first rows, before any model runs."""

from collections.abc import Iterator
from pathlib import Path

from whether.config import PromptConfig
from whether.model.loading import load_tokenizer
from whether.model.tokens import encode, render
from whether.prompt.build import build_prompt, contains_answer
from whether.records import Example, Task, read_json, read_jsonl


def preview(name: str, prompt: PromptConfig, seed: int, *, rows: int, artifacts: Path) -> Iterator[str]:
    """Yield the first dev rows as the model would get them, with their tokens and the right answer.

    Raises what `build_prompt` raises; RecordError where the stages before have not run.
    """
    prepared = artifacts / "prepare"
    task = read_json(prepared / "task.json", Task)
    pool = read_jsonl(prepared / "train.jsonl", Example)
    strategy, decoding = build_prompt(name, prompt, task, pool, seed)
    tokenizer = load_tokenizer(artifacts / "model")
    for example in read_jsonl(prepared / "dev.jsonl", Example)[:rows]:
        chat = strategy(example)
        head = f"--- {example.id}: {len(encode(tokenizer, chat))} tokens, right answer {example.target!r}"
        holds = contains_answer(strategy, example)
        found = "" if holds is None else f", its passage is {'' if holds else 'not '}shown"
        yield f"{head}{found}\n{render(tokenizer, chat)}"
    yield f"--- at most {decoding.max_new_tokens} tokens are written"
