"""conf/ and overrides become checked settings; what DVC tracks is read back."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from whether.config.checking import check
from whether.config.components import argument_names
from whether.config.files import check_names, files_of
from whether.config.output import TASKS, add_output_settings
from whether.config.quoting import quotes_of_override, reference_fault
from whether.config.renamed import RENAMED_CHOICES, negation, new_path, with_new_names
from whether.config.sections import Config
from whether.config.types import CONF, PARAMS
from whether.config.yaml_lines import yaml_fault
from whether.errors import ConfigError, near_matches
from whether.records import write_text


def compose(overrides: Sequence[str] = (), conf: Path = CONF) -> str:
    """Return conf/ with Hydra overrides applied and interpolations resolved, as the YAML text of params.yaml.

    The text is what DVC itself writes on `dvc exp run`. Raises ConfigError for anything that Hydra refuses and for
    settings that `Config` refuses.
    """
    from omegaconf import OmegaConf

    composed = _hydra_compose(overrides, conf)
    _add_baselines(composed)
    _add_training_runs(composed)
    add_output_settings(composed, conf)
    _refuse_secrets(OmegaConf.to_container(composed, resolve=False))
    text = _resolved_yaml(composed, conf)
    config = check(yaml.safe_load(text), origin=lambda: _files(overrides, conf))
    check_names(config, conf)
    return text


def load(path: Path = PARAMS, section: str = "", overrides: Sequence[str] = ()) -> Config:
    """Read and check params.yaml, the composed settings that DVC tracks.

    `overrides` change one section, for a command that no stage depends on: its values (`trials=40`), or, by
    `<section>=<name>`, all of it to those of conf/<section>/<name>.yaml.
    """
    values = _read(path)
    if overrides:
        named = [override for override in overrides if override.startswith(f"{section}=")]
        if named:
            values[section] = yaml.safe_load(compose(named))[section]
        others = [override for override in overrides if override not in named]
        values[section] = _overridden(values.get(section, {}), others)
    return check(values)


def complete_params(path: Path = PARAMS, conf: Path = CONF) -> None:
    """Add what Hydra knows nothing of, files of conf/output, to a params.yaml that DVC wrote (`dvc exp run -S`)."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    values = _read(path)
    try:
        composed = OmegaConf.create(values)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {reference_fault(error, None, conf)}") from None
    add_output_settings(composed, conf)
    text = OmegaConf.to_yaml(composed)
    check_names(check(yaml.safe_load(text)), conf)
    write_params(text, path)


def load_earlier(path: Path) -> Config:
    """Read and check params.yaml of a revision whose settings may still have the names of an earlier version."""
    values = with_new_names(_read(path))
    if "metrics" not in values:  # which an earlier version had no section for
        values["metrics"] = yaml.safe_load(compose())["metrics"]
    return check(values)


def _read(path: Path) -> Any:
    """Return the values of params.yaml."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: run `python -m pipelines.compose` in the root of a project") from None
    except yaml.YAMLError as error:
        raise ConfigError(yaml_fault(error, path)) from None


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> Any:
    """Return a section's values with `a.b=c` applied, each `c` read as YAML."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for override in overrides:
        if not re.match(r"[\w.]+=", override):
            raise ConfigError(f"{override!r} is not a setting: expected <setting>=<value>, such as trials=40")
    try:
        return OmegaConf.to_container(OmegaConf.merge(values, OmegaConf.from_dotlist(list(overrides))))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from None


def write_params(text: str, path: Path = PARAMS) -> None:
    """Write composed settings where DVC reads them; the file keeps its time stamp if nothing changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _hydra_compose(overrides: Sequence[str], conf: Path, **options: Any) -> Any:
    """Compose with Hydra, its errors as ours."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if not (conf / "config.yaml").exists():
        raise ConfigError(
            f"{conf / 'config.yaml'} is missing: run this in the root of a project (`whether new DIR` makes one)"
        )
    for override in overrides:
        # Hydra takes an optional group's missing file for none.
        name = override.removeprefix("experiment=")
        known = [file.stem for file in (conf / "experiment").glob("*.yaml")]
        if name not in (override, *known, "null"):
            raise ConfigError(f"{override}: no file {conf}/experiment/{name}.yaml{near_matches(name, known)}")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf.resolve()), version_base=None):
            return hydra_compose("config", overrides=[_of_output_kind(text) for text in overrides], **options)
    except MissingConfigException as error:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        if choice in RENAMED_CHOICES.get(group, {}):
            raise ConfigError(f"{group}={choice} is now {group}={RENAMED_CHOICES[group][choice]}") from None
        known = [file.stem for file in (conf / group).glob("*.yaml")]
        raise ConfigError(
            f"{group}={choice}: no file {conf}/{group}/{choice}.yaml{near_matches(choice, error.options or known)}"
        ) from None
    except OverrideParseException as error:
        override = str(error.override).removeprefix("++")
        raise ConfigError(
            f"{override}: this is not an override that Hydra can read: expected one such as task=fever, tuner.r=8 or"
            f" prompt=[zero_shot,knn]; {quotes_of_override(override)}"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(yaml_fault(error)) from None
    except (ValueError, TypeError) as error:  # what Hydra lets through for `task=null` or `prompt=[5]`
        raise ConfigError(f"conf/: {error} (in {' '.join(overrides) or 'config.yaml'})") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_text_reason(error, overrides, conf) or _override_reason(error, overrides, conf)) from None


def _of_output_kind(override: str) -> str:
    """Let a setting of an output kind be overridden as any other: Hydra knows nothing of the file that it stands in."""
    sections = "|".join(re.escape(f"{path}.output_settings") for path in TASKS)
    return f"++{override}" if re.match(rf"({sections})[.=]", override) else override


def _text_reason(error: Exception, overrides: Sequence[str], conf: Path) -> str | None:
    """Return what is wrong with a text that Hydra or OmegaConf takes for something else; None: it is another error."""
    if any(type(one).__name__ == "GrammarParseError" for one in (error, error.__cause__)):
        return reference_fault(error.__cause__ or error, None, conf)
    reason = str(error)
    override = next((text for text in overrides if f"'{text}'" in reason), None)
    if "Ambiguous value" not in reason or override is None:
        return None
    return f"{override}: Hydra reads the comma as several values; {quotes_of_override(override)}"


def _override_reason(error: Exception, overrides: Sequence[str], conf: Path) -> str:
    """Name the near matches of a key that does not exist, or its new name."""
    reason = str(error.__cause__ or error).strip().splitlines()[0]
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if not unknown or not overrides:
        return f"conf/: {reason}"
    path = unknown[1]
    new = new_path(path)
    if new:
        return f"override {path} is now {new}{negation(path)}"
    limit = next((text for text in overrides if text.startswith(f"{path}=") and "policy.constraints." in path), None)
    if limit:
        return _constraint_reason(limit, overrides, conf)
    if path == "output":
        return f"override {path}: an output kind is part of a task: write task.output=<name of a file in {conf}/output>"
    groups = [text for text in overrides if (conf / text.partition("=")[0]).is_dir()]
    node: Any = _hydra_compose(groups, conf)
    *parents, key = path.split(".")
    for parent in parents:
        node = node.get(parent, {}) if hasattr(node, "get") else {}
    names = {str(name) for name in node} if hasattr(node, "keys") else set()
    if "_target_" in names:
        names |= {*argument_names(node, ".".join(parents))}
    if key in names:
        override = next(text for text in overrides if text.startswith(path))
        return f"override {path}: conf/ does not set it; to add it to what conf/ sets, write +{override}"
    return f"override {path}: no such setting{near_matches(key, names)}"


def _constraint_reason(override: str, overrides: Sequence[str], conf: Path) -> str:
    """Return what is wrong with a limit that conf/ does not have: what is wrong with a +, or that + is missing."""
    try:
        compose([f"+{text}" if text == override else text for text in overrides], conf)
    except ConfigError as error:
        return str(error)
    return f"override {override}: conf/ has no limit on this metric; to add one, write +{override}"


def _add_baselines(composed: Any) -> None:
    """Add what dvc.yaml reads of baselines where conf/config.yaml is of an earlier version, which has no such group."""
    from omegaconf import OmegaConf, open_dict

    arms = composed.get("arms")
    if OmegaConf.is_dict(arms) and "baseline" not in arms:
        with open_dict(composed):
            composed.setdefault("baselines", {})
            arms["baseline"] = list(composed["baselines"] or {})


def _add_training_runs(composed: Any) -> None:
    """Add the further training runs of each tuned checkpoint: `lora_run2` is `lora` from the next seed."""
    from omegaconf import OmegaConf, open_dict

    runs, checkpoints = composed.get("training_runs", 1), composed.get("checkpoints")
    if not isinstance(runs, int) or not OmegaConf.is_dict(checkpoints):
        return  # `check` reports what is wrong with them
    with open_dict(composed):
        for name in [name for name in checkpoints if checkpoints[name] and checkpoints[name].get("tuner")]:
            for run in range(2, runs + 1):
                further = f"{name}_run{run}"
                if further in checkpoints:
                    raise ConfigError(
                        f"checkpoints.{further}: training_runs={runs} makes a checkpoint of this name from {name}: call"
                        " yours otherwise, or leave it out"
                    )
                checkpoints[further] = OmegaConf.merge(checkpoints[name], {"repeat_of": name, "run": run})


def _resolved_yaml(composed: Any, conf: Path) -> str:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_yaml(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(reference_fault(error, composed, conf)) from None


def _refuse_secrets(node: Any, path: str = "") -> None:
    """An environment variable would be resolved into params.yaml, which is committed."""
    if isinstance(node, dict):
        for key, value in node.items():
            _refuse_secrets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _refuse_secrets(value, f"{path}[{index}]")
    elif isinstance(node, str) and "${oc.env" in node:
        raise ConfigError(
            f"{path}: {node!r} would write an environment variable into params.yaml, which is committed; secrets are"
            " read from the environment where they are used"
        )


def _files(overrides: Sequence[str], conf: Path) -> dict[str, str]:
    """Map each section (`task`, `prompts.knn`) to the file that was selected for it."""
    composed = _hydra_compose(overrides, conf, return_hydra_config=True)
    return files_of(composed, conf)
