"""Arms of the last pipeline run that may answer, for the model registry: the recommended one, and what was tuned."""

from pathlib import Path

from whether.bundle.bundle import bundle_record, write_bundle
from whether.bundle.champion import read_champion_or_none
from whether.config import Config
from whether.errors import RecordError
from whether.records import BundleRecord, Verdict, read_json
from whether.tracking.models import model_description, model_name, version_tags
from whether.tracking.views import ModelView, ModelViews


def registered_arms(config: Config, artifacts: Path) -> ModelViews | None:
    """Return the arms that `tracking.models` selects, as versions of the task's registered model.

    The recommended arm is the champion; where retraining has a champion, it is the challenger, and retraining moves the
    champion's alias. An inconclusive verdict leaves the champion's alias where it is. None where nothing is selected.
    Raises RecordError.
    """
    if not config.tracking.enabled or config.tracking.models == "none":
        return None
    verdict = read_json(artifacts / "compare" / "verdict.json", Verdict)
    recommended = verdict.recommended_arm if verdict.answer != "inconclusive" else None
    arms = [recommended] if recommended else []
    if config.tracking.models == "tuned":
        arms += [arm for arm in best_of_each_tuned(verdict) if arm != recommended]
    versions = {arm: _version(arm, verdict, config, artifacts) for arm in arms}
    shown = versions[recommended].content if recommended else None
    task, aliases = config.task.name, _aliases(shown, Path(config.retrain.folder))
    return ModelViews(model_name(task), model_description(task), list(versions.values()), aliases)


def best_of_each_tuned(verdict: Verdict) -> list[str]:
    """Return the arm of each tuned checkpoint that is best on dev; one that breaks a constraint comes last."""
    found: dict[str, list[str]] = {}
    for name, arm in verdict.arms.items():
        if arm.answer in ("fine_tune", "both"):
            found.setdefault(arm.checkpoint, []).append(name)

    def rank(name: str) -> tuple[bool, float]:
        return name not in verdict.excluded, verdict.arms[name].dev.get(verdict.metric, 0.0)

    return [max(names, key=rank) for names in found.values()]


def _version(arm: str, verdict: Verdict, config: Config, artifacts: Path) -> ModelView:
    record, sources = bundle_record(arm, verdict, config, artifacts)

    def write(folder: Path) -> Path:
        write_bundle(record, sources, folder)
        return folder

    return ModelView(arm, record.content_hash, _version_description(arm, verdict), version_tags(record), write)


def _version_description(arm: str, verdict: Verdict) -> str:
    """Return what a version is, as a sentence."""
    found = verdict.arms[arm].metrics
    quality, price = found[verdict.metric], found.get("usd_per_1k")
    on = f" on {verdict.model}" if verdict.arms[arm].prompt else ", without a language model"
    text = f"`{arm}`{on}: {verdict.metric} {quality.value:.3f}"
    if quality.ci_low is not None and quality.ci_high is not None:
        text += f" ({quality.ci_low:.3f} to {quality.ci_high:.3f})"
    if price and price.value is not None:
        text += f", {price.value:.4f} USD per 1,000 requests"
    return text + ("; the verdict recommends it." if arm == verdict.recommended_arm else ".")


def _aliases(recommended: str | None, folder: Path) -> dict[str, str | None]:
    """Return which aliases move where."""
    try:
        champion = read_champion_or_none(folder)
        if champion is None:
            return {"challenger": None} | ({"champion": recommended} if recommended else {})
        answers = read_json(folder / "bundles" / champion.champion / "bundle.json", BundleRecord).content_hash
    except RecordError:  # for the retraining job to say
        return {}
    return {"challenger": recommended if recommended != answers else None}
