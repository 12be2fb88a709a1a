"""What the prompts of a pipeline run ask, for the prompt registry."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from whether.config import Config
from whether.records import Example, Verdict, sha256_json
from whether.tracking.names import flatten
from whether.tracking.views import PromptView


def prompt_views(config: Config, verdict: Verdict, artifacts: Path, first: Example) -> list[PromptView]:
    """Return each distinct text with the arms that asked with it; `first` is the example that prompt.txt was made for.

    The text is the rendered prompt, where variables take the place of that example's inputs. Demonstrations that are
    chosen for each input are those of this one.
    """
    found: dict[tuple[str, str], PromptView] = {}
    for name, arm in verdict.arms.items():
        if not arm.prompt:  # a baseline has none
            continue
        text = with_variables((artifacts / "generate" / name / "prompt.txt").read_text(encoding="utf-8"), first.inputs)
        settings = dataclasses.asdict(config.prompts[arm.prompt])
        content = sha256_json({"text": text, "settings": settings})
        known = found.get((arm.prompt, content))
        if known is None:
            tags = {"task": verdict.task, "model": verdict.model, "prompt": arm.prompt}
            tags |= {key: value for key, value in flatten(settings).items() if key.endswith("_target_")}
            found[arm.prompt, content] = PromptView(
                f"{verdict.task}.{arm.prompt}", text, content, tags, f"As {name} asked.", [name]
            )
        else:
            known.arms.append(name)
    return list(found.values())


def with_variables(text: str, inputs: Mapping[str, str]) -> str:
    """Return a rendered prompt with `{{ name }}` where the last place of each input is."""
    for name, value in sorted(inputs.items(), key=lambda item: -len(item[1])):
        before, place, after = text.rpartition(value)
        if value and place:
            text = f"{before}{{{{ {name} }}}}{after}"
    return text
