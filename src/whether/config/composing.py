"""conf/ and overrides become checked settings; what DVC tracks is read back."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from whether.config.components import arguments, build
from whether.config.messages import explain_validation_error
from whether.config.output import TASKS, add_output_settings
from whether.config.renamed import new_path, with_new_names
from whether.config.sections import Config
from whether.config.types import CONF, KNOWLEDGE, PARAMS
from whether.errors import ConfigError, near_matches
from whether.records import write_text

CHECK_METRICS = "whether.metrics.constraints.check_metrics"
"""What checks metrics of answers, and limits against all metrics. Settings are below it, so it is imported by name, as
what a `_target_` names is: only where it is needed."""
CHECK_OUTPUT = "whether.outputs.kinds.check_output"
"""What checks a task against the kind of its output."""


def compose(overrides: Sequence[str] = (), conf: Path = CONF) -> str:
    """Return conf/ with Hydra overrides applied and interpolations resolved, as the YAML text of params.yaml.

    The text is what DVC itself writes on `dvc exp run`. Raises ConfigError for anything that Hydra refuses and for
    settings that `Config` refuses.
    """
    from omegaconf import OmegaConf

    composed = _hydra_compose(overrides, conf)
    _add_training_runs(composed)
    add_output_settings(composed, conf)
    _refuse_secrets(OmegaConf.to_container(composed, resolve=False))
    text = _resolved_yaml(composed)
    _check_curve(check(yaml.safe_load(text), origin=lambda: _files_of(overrides, conf)), conf)
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

    composed = OmegaConf.create(_read(path))
    add_output_settings(composed, conf)
    text = OmegaConf.to_yaml(composed)
    check(yaml.safe_load(text))
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
        raise ConfigError(f"{path} is not YAML: {error}") from None


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


def check(values: Any, origin: Callable[[], dict[str, str]] = dict) -> Config:
    """Return checked settings. `origin` maps a section to the file that it was read from, for messages."""
    try:
        config = TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        files = origin()
        lines = [explain_validation_error(problem, files) for problem in _without_copies(error.errors())]
        raise ConfigError("\n".join(lines)) from None
    for path in (f"tuner.{name}" for name in config.tuner):  # a section of the user's own names: nothing else checks it
        if new_path(path):
            raise ConfigError(f"{path} is now {new_path(path)}")
    for path in TASKS:
        task = config.task if path == "task" else config.benchmark.other
        if task is not None:
            build({"_target_": CHECK_OUTPUT}, task, path)
    build({"_target_": CHECK_METRICS}, config)
    _refuse_scores_of_served(config)
    components = {"model.source": config.model.source}
    prompts = {f"prompts.{name}": prompt for name, prompt in config.prompts.items()}
    prompts |= {f"curve.prompts.{name}": prompt for name, prompt in config.curve.prompts.items() if prompt}
    for name, checkpoint in config.checkpoints.items():
        if checkpoint.tuner:
            components[f"checkpoints.{name}.tuner.adapter"] = checkpoint.tuner.adapter
            if checkpoint.tuner.prompt:
                prompts[f"checkpoints.{name}.tuner.prompt"] = checkpoint.tuner.prompt
    for where, prompt in prompts.items():
        components |= {f"{where}.strategy": prompt.strategy, f"{where}.decoding": prompt.decoding}
    components |= {f"optimise.decodings.{name}": decoding for name, decoding in config.optimise.decodings.items()}
    components |= {f"retrain.triggers.{name}": trigger for name, trigger in config.retrain.triggers.items()}
    for where, component in components.items():
        folder = arguments(component, where).get("folder")
        if where.endswith(".strategy") and folder is not None and Path(folder).parts[:1] != (str(KNOWLEDGE),):
            raise ConfigError(
                f"{where}.folder: {folder} does not lie in {KNOWLEDGE}/, which is what DVC watches for it"
            )
    return config


def _without_copies(problems: Sequence[Any]) -> list[Any]:
    """Leave out what is wrong in `curve` only because it is wrong where `curve` takes it from, by interpolation."""
    elsewhere = [problem["loc"] for problem in problems if problem["loc"][:1] != ("curve",)]

    def is_copy(path: tuple[Any, ...]) -> bool:
        inside = path[1:]
        return path[:1] == ("curve",) and any(inside and other[-len(inside) :] == inside for other in elsewhere)

    return [problem for problem in problems if not is_copy(problem["loc"])]


def _refuse_scores_of_served(config: Config) -> None:
    """Report, before anything is paid for, a prompt that needs what a served model does not return."""
    served = [name for name, checkpoint in config.checkpoints.items() if checkpoint.served]
    for name, prompt in config.prompts.items():
        if served and str(prompt.decoding.get("_target_")).endswith(".label_scores"):
            raise ConfigError(
                f"prompts.{name} answers by the probabilities of labels, which the served model {served[0]} does not"
                " return: leave one of the two out, or run them separately"
            )


def _check_curve(config: Config, conf: Path) -> None:
    """Tell a checkpoint that does not exist from one that the run does not select: only the second is meant to be."""
    name, known = config.curve.checkpoint, [file.stem for file in (conf / "checkpoint").glob("*.yaml")]
    if name is not None and name not in {*known, *config.checkpoints}:
        raise ConfigError(f"curve.checkpoint={name}: no file {conf}/checkpoint/{name}.yaml{near_matches(name, known)}")


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
            return hydra_compose("config", overrides=list(overrides), **options)
    except MissingConfigException as error:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        known = [file.stem for file in (conf / group).glob("*.yaml")]
        raise ConfigError(
            f"{group}={choice}: no file {conf}/{group}/{choice}.yaml{near_matches(choice, error.options or known)}"
        ) from None
    except OverrideParseException as error:
        raise ConfigError(
            f"{error.override}: this is not an override that Hydra can read: expected one such as task=fever,"
            " tuner.r=8 or prompt=[zero_shot,knn]"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{conf} holds a file that is not YAML: {error}") from None
    except (ValueError, TypeError) as error:  # what Hydra lets through for `task=null` or `prompt=[5]`
        raise ConfigError(f"conf/: {error} (in {' '.join(overrides) or 'config.yaml'})") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_override_reason(error, overrides, conf)) from None


def _override_reason(error: Exception, overrides: Sequence[str], conf: Path) -> str:
    """Name the near matches of a key that does not exist, or its new name."""
    reason = str(error.__cause__ or error).strip().splitlines()[0]
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if not unknown or not overrides:
        return f"conf/: {reason}"
    path = unknown[1]
    new = new_path(path)
    if new:
        return f"override {path} is now {new}"
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
    names = [str(name) for name in node] if hasattr(node, "keys") else []
    return f"override {path}: no such setting{near_matches(key, names)}"


def _constraint_reason(override: str, overrides: Sequence[str], conf: Path) -> str:
    """Return what is wrong with a limit that conf/ does not have: what is wrong with a +, or that + is missing."""
    try:
        compose([f"+{text}" if text == override else text for text in overrides], conf)
    except ConfigError as error:
        return str(error)
    return f"override {override}: conf/ has no limit on this metric; to add one, write +{override}"


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


def _resolved_yaml(composed: Any) -> str:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        OmegaConf.resolve(composed)
        return OmegaConf.to_yaml(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(f"conf/: {str(error).splitlines()[0]} (at {getattr(error, 'full_key', '?')})") from None


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


def _files_of(overrides: Sequence[str], conf: Path) -> dict[str, str]:
    """Map each section (`task`, `prompts.knn`) to the file that was selected for it."""
    choices = _hydra_compose(overrides, conf, return_hydra_config=True).hydra.runtime.choices
    files = {group: conf / group / f"{choice}.yaml" for group, choice in choices.items()}
    for group in ("checkpoint", "prompt", "metric"):
        files |= {f"{group}s.{file.stem}": file for file in (conf / group).glob("*.yaml")}
    return {section: str(file) for section, file in files.items() if file.exists()}
