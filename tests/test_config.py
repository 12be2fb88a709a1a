"""A typo, a bad value or a contradiction fails before any work, by name."""

import dataclasses
import importlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from whether.config import CONF, Config, TaskConfig, check, complete_params, compose, load, load_earlier, write_params
from whether.config.output import SHIPPED
from whether.config.renamed import MOVED_TARGETS, RENAMED, new_path
from whether.errors import ConfigError

ROOT = Path(__file__).parents[1]
LISTS = ("checkpoint", "prompt", "baseline", "metric")
"""Groups of which a run selects several."""
GROUPS = sorted(folder.name for folder in (ROOT / CONF).iterdir() if folder.is_dir() and folder.name != "output")
CHOICES = [
    (group, file.stem)
    for group in GROUPS
    if group not in LISTS
    for file in sorted((ROOT / CONF / group).glob("*.yaml"))
]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of conf/ to edit, in a working folder of its own."""
    shutil.copytree(ROOT / CONF, tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return Path("conf")


def composed(*overrides: str) -> Config:
    return check(yaml.safe_load(compose(overrides, ROOT / CONF)))


@pytest.mark.heavy
@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda part: part)
def test_every_file_of_conf_composes_and_fits_the_code_it_names(group: str, choice: str) -> None:
    composed(f"{group}={choice}")


@pytest.mark.heavy
def test_an_output_is_a_file_of_conf() -> None:
    files = (ROOT / CONF / "output").glob("*.yaml")
    assert {file.stem: yaml.safe_load(file.read_text()) for file in files} == {
        name: {"_target_": target} for name, target in SHIPPED.items()
    }
    config = composed("task=arithmetic", "task@benchmark.other=fever")
    assert config.task.output_settings == {"_target_": SHIPPED["text"]}
    assert config.benchmark.other is not None
    assert config.benchmark.other.output_settings == {"_target_": SHIPPED["label"]}


@pytest.mark.heavy
@pytest.mark.parametrize("group", LISTS)
def test_all_choices_of_a_list_compose_together(group: str) -> None:
    choices = {file.stem for file in (ROOT / CONF / group).glob("*.yaml")}
    # A price is what only the user knows.
    price = "{date: '2026-11-27', source: a test, usd_per_1m_input: 0.1, usd_per_1m_output: 0.4}"
    words = [f"checkpoints.served.served.price={price}"] if group == "checkpoint" else []
    config = composed(f"{group}=[{','.join(sorted(choices))}]", *words)
    assert set(getattr(config, f"{group}s")) == choices


@pytest.mark.heavy
def test_a_served_model_needs_a_price_and_tells_no_probabilities() -> None:
    price = (
        "checkpoints.served.served.price={date: '2026-11-27', source: me, usd_per_1m_input: 1, usd_per_1m_output: 4}"
    )
    with pytest.raises(ConfigError, match=r"checkpoints\.served\.served needs a price"):
        composed("checkpoint=[base,served]")
    with pytest.raises(ConfigError, match=r"prompts\.few_shot_scored answers by the probabilities of labels"):
        composed("checkpoint=[base,served]", "prompt=[zero_shot,few_shot_scored]", price)
    with pytest.raises(ConfigError, match=r"needs either a tuner or served"):
        composed(
            "checkpoint=[base,served]",
            price,
            "+checkpoints.served.tuner=${checkpoints.lora.tuner}",
            "checkpoint=[base,lora,served]",
        )


@pytest.mark.heavy
def test_params_yaml_is_what_conf_says() -> None:
    assert (ROOT / "params.yaml").read_text() == compose(conf=ROOT / CONF)


@pytest.mark.heavy
def test_params_yaml_is_written_as_dvc_writes_it(tmp_path: Path) -> None:
    from dvc.utils.hydra import compose_and_dump

    overrides = ["tuner.r=8", "task=fever", "prompt=[zero_shot,knn]", "experiment=smoke"]
    compose_and_dump(tmp_path / "params.yaml", str(ROOT / CONF), None, "config", str(ROOT), overrides)
    complete_params(tmp_path / "params.yaml", ROOT / CONF)  # the stage compose does so
    assert (tmp_path / "params.yaml").read_text() == compose(overrides, ROOT / CONF)


def test_the_defaults_of_a_task_stand_in_config_yaml_and_in_the_dataclass_alike() -> None:
    written = yaml.safe_load((ROOT / CONF / "config.yaml").read_text())["task"]
    for field in dataclasses.fields(TaskConfig):
        if field.name in written:
            default = field.default_factory() if callable(field.default_factory) else field.default
            plain = dataclasses.asdict(default) if dataclasses.is_dataclass(default) else default
            assert written[field.name] == plain, field.name


@pytest.mark.heavy
def test_overrides_reach_the_checkpoint_that_uses_them() -> None:
    config = composed("tuner.r=8", "prompt=[zero_shot,knn]")
    tuner = config.checkpoints["lora"].tuner
    assert tuner is not None
    assert tuner.adapter["r"] == 8
    assert config.arm_names == ["base-zero_shot", "base-knn", "lora-zero_shot", "lora-knn"]
    assert config.arms.prompt == ["zero_shot", "knn"]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=snipz"], r"task=snipz: no file .*did you mean 'snips'\? Known: .*fever"),
        (["prompt=[knn"], r"prompt=\[knn: this is not an override that Hydra can read: expected one such as"),
        (["tuner.rr=8"], r"override tuner.rr: no such setting; did you mean 'r'\?"),
        (["sead=1"], r"override sead: no such setting; did you mean 'seed' or 'search'\?"),
        (["seed=-1"], r"seed.*greater than or equal to 0, and is -1"),
        (["tuner.r=0"], r"checkpoints.lora.tuner.adapter.r.*greater than or equal to 1, and is 0"),
        (["tuner.learning_rate=fast"], r"checkpoints.lora.tuner.learning_rate \(in .*lora.yaml\).*'fast'"),
        (["tuner.epochs=0"], r"checkpoints.lora.tuner.epochs \(in .*lora.yaml\).*and is 0"),
        (["+prompts.knn.exampels=3"], r"prompts.knn.exampels \(in .*knn.yaml\): no such setting"),
        (["prompts.knn.strategy.examples=many"], r"prompts.knn.strategy.examples \(in .*/prompt/knn.yaml\): .*'many'"),
        (["+prompts.knn.strategy.example=3"], r"knn.strategy.example \(in .*knn.yaml\): .*did you mean 'examples'"),
        (["prompts.knn.strategy.example=3"], r"example: no such setting; did you mean 'examples'\? Known: .*by"),
        (["prompts.knn.strategy.by=bm25"], r"knn.strategy.by: conf/ does not set it; .* write \+prompts.knn"),
        (["prompts.knn.strategy._target_=whether.prompt.strategies.kn"], r"has no 'kn'; did you mean 'knn'"),
        (["prompts.knn.strategy._target_=wether.knn"], r"_target_ \(in .*\): .* no module 'wether' in the"),
        (["prompts.knn.strategy._target_=knn"], r"expected the dotted path of a function or class, and is 'knn'"),
        (["prompt=[retrieval]", "prompts.retrieval.strategy.folder=docs"], r"folder .*: docs does not lie in knowl"),
        (["+task.definitions.get_wether=x"], r"definitions: 'get_wether' is not a label; did you mean 'get_weather'"),
        (["task.splits.train=0.9"], r"task.splits \(in .*snips.yaml\): train \+ dev \+ test .* add up to 1"),
        (["task.output=text"], r"task.labels is set, and output: text has no use for it"),
        (["task.output=lable"], r"task.output=lable: no file .*/output/lable.yaml; did you mean 'label'\? Known: json"),
        (["output=text"], r"output: an output kind is part of a task: write task.output=<name of"),
        (["task.output_settings.a=1"], r"task.output_settings.a \(in .*/snips.yaml\): .*LabelOutput has no such"),
        (["task.output_settings={a: 1}"], r"task.output_settings.a \(in .*/snips.yaml\): .*LabelOutput has no such"),
        (["+task.output_settings.a=1"], r"task.output_settings.a .*LabelOutput has no such"),
        (["task.output_settings.a=[1"], r"^task.output_settings.a=\[1: this is not an override"),
        (["+task.output_settings._target_=whether.outputs.label.LabelOut"], r"no 'LabelOut'; did you mean 'LabelOut"),
        (["+task.output_settings._target_=pathlib.Path"], r"label.yaml\): pathlib.Path cannot take a task"),
        (["+task.output_settings._target_=builtins.repr"], r"builtins.repr is no kind of output, since it has no"),
        (["task=snips_json", "task.schema={type: objekt}"], r"task.schema is not a JSON Schema .*'objekt' is not"),
        (["task=snips_json", "task.schema=null"], r"task.schema is not set: output: json needs the JSON Schema"),
        (["task.metric=acuracy"], r"'acuracy' is not measured for output: label.*did you mean 'accuracy'"),
        (["task.labels=[only]"], r"at least two different labels"),
        (["checkpoint=[lora]"], r"checkpoints must hold 'base'"),
        (["prompt=[]"], r"prompts: select at least one"),
        (["model.backend=vlm"], r"model.backend .*'engine', 'vllm' or 'auto', and is 'vlm'"),
        (["model.backend=vllm", "checkpoint=[base,lora,linear_probe]"],
         r"checkpoints.linear_probe is a linear probe, and vLLM runs changed weights only: .*model.backend to engine"),
        (["model.backend=vllm", "checkpoint=[base,lora,prefix_tuning]"], r"prefix_tuning is virtual tokens"),
        (["experiment=smok"], r"experiment=smok: no file .*did you mean 'smoke'"),
        (["policy.max_failed=2"], r"policy.max_failed .*: .*less than or equal to 1, and is 2"),
        (["checkpoint=[base,served]", "checkpoints.served.served.request={strem: true}"],
         r"served.request.strem .*: no such setting; did you mean 'stream'"),
        (["checkpoint=[base,served]", "checkpoints.served.served.request={headers: {x-api-key: abc}}"],
         r"x-api-key looks like a secret: write headers_env"),
        (["checkpoint=[base,served]", "checkpoints.served.served.request={stream: maybe}"], r"served.request.stream"),
        (["arms.prompt=[knn]"], r"arms follows from checkpoints, prompts and baselines"),
        (["policy.constraints.latency_p9.max=2"], r"label task have no such metric; did you mean 'latency_p95'"),
        (["+policy.constraints.exact_match.min=1"], r"exact_match: arms of a label task have no such metric"),
        (["+policy.constraints.tokens_per_second_decode.min=9"], r"no such metric; did you mean 'tokens_per_second'"),
        (["task=arithmetic", "+policy.constraints.unseen_labels.min=0"], r"arms of a text task have no such metric"),
        (["+policy.constraints.latency_p95.min=2"],
         r"latency_p95.min: of latency p95 less is better: set policy.constraints.latency_p95.max"),
        (["+policy.constraints.valid_rate.max=1"],
         r"valid_rate.max: of valid outputs more is better: set policy.constraints.valid_rate.min"),
        (["policy.constraints.valid_rate.min=90"], r"valid_rate.min: expected a fraction from 0 to 1, and is 90"),
        (["policy.constraints.retention_change.min=-2"], r"change.min: expected a fraction from -1 to 1, and is -2"),
        (["policy.constraints.usd_per_1k.max=-1"], r"usd_per_1k.max: expected at least 0, and is -1"),
        (["policy.constraints.latency_p95.mx=2"], r"latency_p95.mx .*no such setting; did you mean 'max'"),
        (["policy.constraints.disk.max=5"], r"no limit on this metric; .* write \+policy.constraints.disk.max=5"),
        (["+policy.constraints.disk=5"], r"constraints.disk .*: expected \{min: x\} or \{max: x\}, and is 5"),
        (["policy.metric=acc"], r"policy.metric 'acc' is not measured for output: label"),
        (["curve.checkpoint=lorra"], r"curve.checkpoint=lorra: no file .*lorra.yaml; did you mean 'lora'"),
        (["curve.checkpoint=base"], r"curve .*checkpoint must name the tuned checkpoint"),
        (["curve.labels=[20,20]"], r"curve .*labels holds a number twice: \[20, 20\]"),
        (["curve.labels=[0]"], r"curve.labels.0.*greater than or equal to 1, and is 0"),
        (["curve.seeds=[]"], r"labels and seeds go together"),
        (["curve.min_step=4"], r"override curve.min_step: no such setting; did you mean 'min_steps'\?"),
        (["+curve.prompts.mine=${prompts.mine}"], r"prompts.mine"),
        (["curve.prompts.knn.strategy.example=3"], r"curve.prompts.knn"),
        (["benchmark.tasks=[]"], r"benchmark.tasks \(in .*bigbench.yaml\)"),
        (["task.labels=[a,b,a]"], r"labels holds a label twice"),
        (["pricing.usd_per_label=inf"], r"pricing.usd_per_label.*finite"),
        (["task=null"], r"conf/: .*task=null"),
        (["prompt=[5]"], r"conf/: .*prompt=\[5\]"),
        (["task=arithmetic", "task.answer_pattern='(['"], r"answer_pattern is not a regular expression"),
        (["policy.alpha=1.5"], r"policy.alpha.*less than 0.5, and is 1.5"),
        (["a=[1"], r"a=\[1: this is not an override"),
        (["task.unseen_labels=[rate_buk]"], r"unseen_labels: 'rate_buk' is not a label; did you mean 'rate_book'"),
        (["task=arithmetic", "task.unseen_labels=[a]"], r"unseen_labels is set, and output: text has no use"),
        (["retrain.max_unlabelled_rows=100"], r"max_unlabelled_rows must be at least 300, since the trigger \w+_drift"),
        (["retrain.triggers.input_drift.max_rows=many"], r"retrain.triggers.input_drift.max_rows.*'many'"),
        (["metric=[exact_match]"], r"none of those selected goes with output: label; select one in metric"),
        (["metric=[accuracy]", "policy.metric=macro_f1"], r"'macro_f1' is not measured .* or not selected"),
        (["+metrics.accuracy.range=[0,100]"], r"range must be \[0, 1\], or null .*: let the function return"),
        (["+metrics.accuracy.range=null"], r"metrics.accuracy cannot be the primary metric: margins are fractions"),
        (["metrics.macro_f1.higher_is_better=false", "task.metric=macro_f1"], r"macro_f1 cannot be the primary metric"),
        (["metrics.accuracy.totals._target_=whether.metrics.quality.equall"], r"no 'equall'; did you mean 'equal'"),
        (["+metrics.accuracy.totals.strict=true"], r"totals.strict .*accuracy.yaml\): .*equal has no such argument"),
        (["+metrics.disk=${metrics.accuracy}"], r"metrics.disk: stages measure a metric of this name"),
        (["metrics.accuracy.unit=secnds"], r"accuracy.unit .*'secnds' is not a unit .*; did you mean 'seconds'"),
        (["metrics.accuracy.outputs=[lable]"], r"no kind of output 'lable', which .*; did you mean 'label'"),
        (["training_runs=2"], r"two runs tell too little about a third one: expected 1, or 3 and more"),
        (["training_runs=3", "+checkpoints.lora_run2=${checkpoints.lora}"], r"lora_run2: training_runs=3 makes"),
        (["training_runs=0"], r"training_runs.*greater than or equal to 1, and is 0"),
        (["training_runs=many"], r"training_runs.*'many'"),
        (["+checkpoints.base.repeat_of=lora"], r"checkpoints must hold 'base'"),
        (["+checkpoints.lora.repeat_of=base"], r"checkpoints.lora.repeat_of: 'base' is not a tuned checkpoint here"),
    ],
)  # fmt: skip
def test_bad_settings_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose(overrides, ROOT / CONF)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("retrain.recent", "retrain.holdout_share"),
        ("retrain.window", "retrain.holdout_rows"),
        ("retrain.label_least", "retrain.min_label_rows"),
        ("retrain.unlabelled", "retrain.max_unlabelled_rows"),
        ("retrain.gate.recent_least", "retrain.gate.min_recent_rows"),
        ("retrain.triggers.input_drift.least", "retrain.triggers.input_drift.min_rows"),
        ("retrain.triggers.label_drift.most", "retrain.triggers.label_drift.max_rows"),
        ("retrain.triggers.new_labels.least", "retrain.triggers.new_labels.min_rows"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "+"])  # as an override, and as a setting in a file
def test_an_old_name_is_an_error_that_says_the_new_one(prefix: str, old: str, new: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose([f"{prefix}{old}=20"], ROOT / CONF)
    assert re.sub(r"^override | \(in \S*retrain/default\.yaml\)", "", str(error.value)) == f"{old} is now {new}"


def test_the_name_of_a_setting_below_a_renamed_one() -> None:
    assert new_path("retrain.window") == "retrain.holdout_rows"
    assert new_path("retrain.window.x") == "retrain.holdout_rows.x"
    assert new_path("retrain.triggers.mine.most") == "retrain.triggers.mine.max_rows"
    assert new_path("retrain.windows") is new_path("retrain") is None


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["prompts.knn.answering.after=x"],
         "override prompts.knn.answering.after is now prompts.knn.decoding.answer_prefix"),
        (["prompt=[chain_of_thought]", "prompts.chain_of_thought.decoding.after=x"],
         "override prompts.chain_of_thought.decoding.after is now prompts.chain_of_thought.decoding.answer_prefix"),
        (["+prompts.knn.answering={}"],
         "prompts.knn.answering (in {conf}/prompt/knn.yaml) is now prompts.knn.decoding"),
        (["+checkpoints.lora.tuner.prompt={strategy: {_target_: a.b}, answering: {}}"],
         "checkpoints.lora.tuner.prompt.answering (in {conf}/checkpoint/lora.yaml) is now"
         " checkpoints.lora.tuner.prompt.decoding"),
        (["+checkpoints.lora.repeats=lora"],
         "checkpoints.lora.repeats (in {conf}/checkpoint/lora.yaml) is now checkpoints.lora.repeat_of"),
        (["+checkpoints.lora.tuner.start={}"],
         "checkpoints.lora.tuner.start (in {conf}/checkpoint/lora.yaml) is now checkpoints.lora.tuner.warm_start"),
        (["+tuner.start={}"], "tuner.start is now tuner.warm_start"),
        (["tuner.start.adapter=x"], "override tuner.start.adapter is now tuner.warm_start.adapter"),
        (["robustness.variations=[input_colon]"], "override robustness.variations is now robustness.formats"),
        (["policy.constraints.latency_p95=2"],
         "policy.constraints.latency_p95=2 (in {conf}/policy/default.yaml) is now"
         " policy.constraints.latency_p95.max=2"),
        (["policy.constraints.valid_rate=0.9"],
         "policy.constraints.valid_rate=0.9 (in {conf}/policy/default.yaml) is now"
         " policy.constraints.valid_rate.min=0.9"),
        (["policy.constraints.retention_loss=0.02"],
         "policy.constraints.retention_loss=0.02 (in {conf}/policy/default.yaml) is now"
         " policy.constraints.retention_change.min=-0.02"),
        (["+policy.constraints.retention_loss=null"],
         "policy.constraints.retention_loss is now policy.constraints.retention_change.min"),
        (["+robustness.variations=[]"],
         "robustness.variations (in {conf}/robustness/default.yaml) is now robustness.formats"),
        (["prompts.zero_shot.plain=true"],
         "override prompts.zero_shot.plain is now prompts.zero_shot.engineered, and says the opposite"),
        (["+prompts.zero_shot.plain=true"],
         "prompts.zero_shot.plain (in {conf}/prompt/zero_shot.yaml) is now prompts.zero_shot.engineered, and says the"
         " opposite"),
        (["optimise.answerings.greedy=1"], "override optimise.answerings.greedy is now optimise.decodings.greedy"),
        (["prompt=[few_shot]", "prompts.few_shot.decoding._target_=whether.prompt.answering.one_of_labels"],
         "prompts.few_shot.decoding._target_ (in {conf}/prompt/few_shot.yaml):"
         " whether.prompt.answering.one_of_labels is now whether.outputs.decoding.constrained"),
        (["prompts.knn.decoding._target_=whether.outputs.decoding.constrained_choice"],
         "prompts.knn.decoding._target_ (in {conf}/prompt/knn.yaml): whether.outputs.decoding.constrained_choice is now"
         " whether.outputs.decoding.constrained"),
        (["prompt=[zero_shot,few_shot_constrained]"], "prompt=few_shot_constrained is now prompt=few_shot"),
        (["prompt=definitions_constrained"], "prompt=definitions_constrained is now prompt=definitions"),
        (["prompt=[structured]", "prompts.structured.decoding._target_=whether.prompt.answering.structured"],
         "prompts.structured.decoding._target_ (in {conf}/prompt/structured.yaml):"
         " whether.prompt.answering.structured is now whether.outputs.decoding.json_answer"),
        (["prompts.knn.decoding._target_=whether.prompt.answering.greedy"],
         "prompts.knn.decoding._target_ (in {conf}/prompt/knn.yaml): whether.prompt.answering.greedy is now"
         " whether.outputs.decoding.greedy"),
        (["optimise.decodings.constrained._target_=whether.prompt.answering.one_of_labels"],
         "optimise.decodings.constrained._target_ (in {conf}/optimise/default.yaml):"
         " whether.prompt.answering.one_of_labels is now whether.outputs.decoding.constrained"),
    ],
)  # fmt: skip
def test_an_old_name_is_one_error_that_has_the_new_one(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(overrides, ROOT / CONF)
    assert str(caught.value) == message.replace("{conf}", str(ROOT / CONF))


def test_every_new_name_exists() -> None:
    for old, new in RENAMED.items():
        assert new_path(old.replace("*", "x")) == new.replace("*", "x")
        assert new_path(new.replace("*", "x")) is None
    for target in MOVED_TARGETS.values():
        module, _, name = target.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.heavy
def test_params_yaml_of_an_earlier_version_is_read_under_the_new_names(tmp_path: Path) -> None:
    weights = "{adapter: here, sha256: '" + "0" * 64 + "'}"
    overrides = [
        "prompt=[zero_shot,few_shot,structured]", "checkpoint=[base,lora,lora_prompted]",
        "checkpoints.lora_prompted.tuner.prompt=${prompts.structured}", f"+checkpoints.lora.tuner.warm_start={weights}",
        "training_runs=3",
    ]  # fmt: skip
    values = yaml.safe_load(compose(overrides, ROOT / CONF))
    values["policy"]["constraints"] = {"retention_change": {"min": -0.02}}
    config = check(values)
    values["policy"]["constraints"] = {"latency_p95": None, "retention_loss": 0.02}
    text = yaml.safe_dump(values, sort_keys=False)
    text = text.replace("engineered: false", "plain: true").replace("engineered: true", "plain: false")
    for new, old in (
        ("decoding:", "answering:"), ("decodings:", "answerings:"), ("repeat_of:", "repeats:"),
        ("warm_start:\n", "start:\n"), ("formats:", "variations:"),
        ("whether.outputs.decoding.constrained", "whether.prompt.answering.one_of_labels"),
        ("whether.outputs.decoding.json_answer", "whether.prompt.answering.structured"),
    ):  # fmt: skip
        assert new in text, new
        text = text.replace(new, old)
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"robustness.variations is now robustness.formats"):
        load(tmp_path / "params.yaml")
    assert load_earlier(tmp_path / "params.yaml") == config


@pytest.mark.heavy
def test_settings_without_metrics_of_an_earlier_version_have_those_that_come_with_the_project(tmp_path: Path) -> None:
    values = yaml.safe_load(compose(["policy.metric=macro_f1"], ROOT / CONF))
    metrics = values.pop("metrics")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(ConfigError, match=r"metrics: is needed and not set"):
        load(tmp_path / "params.yaml")
    earlier = load_earlier(tmp_path / "params.yaml")
    assert earlier.metrics.keys() == metrics.keys()
    assert earlier.primary_metric == "macro_f1"


@pytest.mark.heavy
def test_any_metric_can_have_a_limit() -> None:
    limits = composed("policy.constraints.usd_per_1k.max=0.5", "+policy.constraints.disk.max=50e6").policy.constraints
    assert {metric: limit.max for metric, limit in limits.items() if limit and limit.max} == {
        "usd_per_1k": 0.5,
        "disk": 5e7,
    }


@pytest.mark.heavy
def test_the_curve_takes_its_settings_from_what_the_run_selects() -> None:
    curve = composed("tuner.r=8", "prompts.knn.strategy.examples=4", "+curve.prompts.more=${prompts.knn}").curve
    assert curve.tuner is not None
    assert curve.tuner.adapter["r"] == 8
    assert [(name, prompt.strategy["examples"]) for name, prompt in curve.prompts.items() if prompt] == [
        ("few_shot", 14), ("knn", 4), ("more", 4),
    ]  # fmt: skip
    assert composed("checkpoint=[base]").curve.tuner is None
    assert composed("prompt=[zero_shot,knn]").curve.prompts["few_shot"] is None
    assert composed("curve=none").curve.labels == composed("experiment=smoke", "curve=none").curve.labels == []


@pytest.mark.heavy
def test_training_runs_are_checkpoints_from_the_seeds_that_follow() -> None:
    config = composed("training_runs=3", "checkpoint=[base,lora,linear_probe]", "tuner.r=8")
    assert config.arms.checkpoint == [
        "base", "lora", "linear_probe", "lora_run2", "lora_run3", "linear_probe_run2", "linear_probe_run3",
    ]  # fmt: skip
    again = config.checkpoints["lora_run3"]
    assert (again.repeat_of, again.run) == ("lora", 3)
    assert again.tuner == config.checkpoints["lora"].tuner
    assert list(composed("training_runs=1").checkpoints) == ["base", "lora"]


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.heavy
def test_a_typo_in_a_file_is_named_with_the_file(conf: Path) -> None:
    edit(conf / "policy/default.yaml", lambda text: text.replace("margin:", "margn:"))
    with pytest.raises(ConfigError, match=r"policy.margn \(in conf/policy/default.yaml\).*did you mean 'margin'"):
        compose(conf=conf)


def test_broken_yaml_is_named_with_file_and_line(conf: Path) -> None:
    edit(conf / "task/snips.yaml", lambda text: text + "inputs: {unclosed\n")
    with pytest.raises(ConfigError, match=r"(?s)snips.yaml.*line \d+"):
        compose(conf=conf)


def test_a_secret_from_the_environment_is_refused(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "hunter2")
    edit(conf / "tracking/local.yaml", lambda text: text.replace("sqlite:///mlflow.db", "http://u:${oc.env:KEY}@h"))
    with pytest.raises(ConfigError, match=r"tracking.uri: .*read from the environment") as caught:
        compose(conf=conf)
    assert "hunter2" not in str(caught.value)


def test_a_config_yaml_of_an_earlier_version_has_no_baselines_and_what_dvc_reads_of_them(conf: Path) -> None:
    file = conf / "config.yaml"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not re.match(r"( *- |\s*)baselines?:", line)))
    values = yaml.safe_load(compose([], conf))
    assert (values["baselines"], values["arms"]["baseline"]) == ({}, [])
    assert yaml.safe_load(compose(["+baseline=linear"], conf))["arms"]["baseline"] == ["linear"]


def test_an_interpolation_to_nowhere_is_named(conf: Path) -> None:
    edit(conf / "checkpoint/lora.yaml", lambda text: text.replace("${tuner.r}", "${tuner.rank}"))
    with pytest.raises(ConfigError, match=r"tuner.rank"):
        compose(conf=conf)


@pytest.mark.heavy
def test_unchanged_settings_keep_the_file_untouched(conf: Path) -> None:
    params = Path("params.yaml")
    write_params(compose(conf=conf))
    before = params.stat().st_mtime_ns
    write_params(compose(conf=conf))
    assert params.stat().st_mtime_ns == before
    assert load().task.name == "snips"


@pytest.mark.parametrize(
    ("text", "message"), [(None, "is missing"), ("a: [", "is not YAML"), ("seed: 1\n", "task: is needed")]
)
def test_a_broken_params_yaml_is_named(conf: Path, text: str | None, message: str) -> None:
    if text is not None:
        Path("params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load()


@pytest.mark.heavy
def test_a_prompt_of_ones_own_needs_one_function_and_one_file(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text("def shout(task, pool, seed, *, mark: str):\n    return None\n")
    (conf / "prompt/shout.yaml").write_text("# @package prompts.shout\nstrategy: {_target_: mine.shout, mark: '!'}\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    config: Any = check(yaml.safe_load(compose(["prompt=[zero_shot,shout]"], conf)))
    assert config.arm_names[-1] == "lora-shout"
