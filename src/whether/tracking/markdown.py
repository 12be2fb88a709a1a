"""A verdict as Markdown: the description of a pipeline's run."""

import json
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from whether.printing.markdown import escaped
from whether.records import Answer, ArmRecord, Measurement, Verdict
from whether.tracking.arm_list import ARM_LIST

LIMIT = 8000
"""Characters that MLflow keeps of a description."""
VIEW = "workflowType=machine_learning"
"""Of MLflow's two user interfaces the one with runs, charts and metrics; the other is for traces."""
ANSWERS: dict[Answer, str] = {
    "prompt": "Engineer the prompt; fine-tuning is not worth it here.",
    "fine_tune": "Fine-tune the model; the plain prompt is then enough.",
    "both": "Do both: fine-tune the model and engineer its prompt.",
    "neither": "Neither: no language model is needed.",
    "no_difference": "It makes little difference: the ways differ by less than matters, so take the cheapest.",
    "inconclusive": "The data cannot tell yet.",
}


class Link(NamedTuple):
    """A run that shows a stage."""

    name: str
    kind: str
    run_id: str
    earlier: bool
    """Whether an earlier pipeline run made it: its stage came from the cache."""


def describe(verdict: Verdict, metric: str, experiment_id: str, links: list[Link]) -> str:
    """Return the verdict for a reader: the answer, why, the leaderboard by `metric`, and where things are.

    Fits into what MLflow keeps: of a long leaderboard the best arms are shown, the rest is in leaderboard.csv.
    """
    for rows in (len(verdict.arms), 30, 10, 3):
        text = "\n\n".join(_sections(verdict, metric, experiment_id, links, rows))
        if len(text) <= LIMIT:
            return text
    return text[: LIMIT - 2] + " …"


def _sections(verdict: Verdict, metric: str, experiment_id: str, links: list[Link], rows: int) -> list[str]:
    arms = {link.name: link for link in links if link.kind == "arm"}
    shown = [link.run_id for link in arms.values()][:rows]
    answer = f"**{ANSWERS[verdict.answer]}**"
    if verdict.recommended_arm:
        answer += f" Recommended arm: `{verdict.recommended_arm}`."
    if verdict.further_labels:
        answer += f" About {verdict.further_labels:,} more labelled test examples would settle it."
    return [
        answer,
        "\n".join(f"- {escaped(reason)}" for reason in [*verdict.reasons, *_labels(verdict)]),
        "### Arms",
        _leaderboard(verdict.arms, metric, {name: _url(experiment_id, link) for name, link in arms.items()}, rows),
        "### Runs and files",
        "\n".join(
            [
                f"- [Compare the arms]({_compare(experiment_id, shown)}); [all arms of this experiment, best first]"
                f"(#/experiments/{experiment_id}/runs?viewStateShareKey={ARM_LIST}&{VIEW})",
                *_runs(experiment_id, links, 3 * rows),
                "- Artifacts of this run: `report.html` (everything on one page), `verdict.json`, `leaderboard.csv`,"
                " plots, `params.yaml`, `prepare/` (the data's profile)",
                "- Artifacts of an arm: `predictions.json` (its answers, example by example), `prompt.txt`",
            ]
        ),
    ]


def _labels(verdict: Verdict) -> list[str]:
    """Return what the learning curve says first, if there is one."""
    return verdict.learning_curve.reasons[:1] if verdict.learning_curve else []


def _leaderboard(arms: Mapping[str, ArmRecord], metric: str, urls: Mapping[str, str], rows: int) -> str:
    def key(name: str) -> float:
        found = arms[name].metrics.get(metric)
        return -found.value if found and found.value is not None else float("inf")

    names = sorted(arms, key=key)
    heads = ["arm", f"{escaped(metric)} (interval)", "USD per 1,000", "latency p50"]
    lines = [_row(heads), "|---" * len(heads) + "|"]
    for name in names[:rows]:
        cells = [f"[{name}]({urls[name]})"] + [
            _cell(arms[name].metrics.get(key), form)
            for key, form in ((metric, "{:.3f}"), ("usd_per_1k", "{:.4f}"), ("latency_p50", "{:.3f} s"))
        ]
        lines.append(_row(cells))
    if len(names) > rows:
        lines.append(_row([f"… {len(names) - rows} more in `leaderboard.csv`", "", "", ""]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    """Return a table's row; MLflow draws tables without padding, so each cell brings a space of its own."""
    return f"| {' | '.join(f'{cell}&emsp;' for cell in cells)} |"


def _cell(found: Measurement | None, form: str) -> str:
    if found is None or found.value is None:
        return "not measured"
    text = form.format(found.value)
    if found.ci_low is not None and found.ci_high is not None:
        text += f" ({form.format(found.ci_low)} to {form.format(found.ci_high)})"
    return text


def _runs(experiment_id: str, links: list[Link], limit: int) -> list[str]:
    """Return a line for the runs of stages that ran and one for those of stages that came from the cache."""
    lines = []
    for earlier, title in ((False, "Made by this pipeline run"), (True, "From the cache, made by an earlier one")):
        urls = [f"[{link.name}]({_url(experiment_id, link)})" for link in links if link.earlier == earlier]
        more = f" and {len(urls) - limit} more" if len(urls) > limit else ""
        lines += [f"- {title}: {', '.join(urls[:limit])}{more}"] if urls else []
    return lines


def _url(experiment_id: str, link: Link) -> str:
    return f"#/experiments/{experiment_id}/runs/{link.run_id}?{VIEW}"


def _compare(experiment_id: str, run_ids: list[str]) -> str:
    query = {"runs": json.dumps(run_ids), "experiments": json.dumps([experiment_id])}
    return f"#/compare-runs?{urlencode(query, quote_via=quote)}&{VIEW}"
