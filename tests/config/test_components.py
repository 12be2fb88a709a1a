"""What is wrong in a user's own component or its file is told when the settings are composed, with the file."""

import shutil
import sys
from pathlib import Path

import pytest

from whether.config import CONF, compose
from whether.errors import ConfigError

ROOT = Path(__file__).parents[2]
OWN = """
from whether.outputs.output import OutputKind

def one(a): ...
def two(a, b): ...
def three(a, b, c): ...
def setting(a, b, c, role): ...
def unknown_type(a, b, c, *, role: "Role"): ...

class Two:
    def __init__(self, a, b): ...

class Rating(OutputKind):
    metrics = ("exact_match", "exact_mach")

    def __init__(self, task, *, lowest: int = 1): ...

    def parse(self, text):
        return text

class Word(Rating):
    metrics = "exact_match"
"""

pytestmark = pytest.mark.heavy


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of conf/ to edit, next to modules of one's own, in a working folder of its own."""
    shutil.copytree(ROOT / CONF, tmp_path / CONF)
    (tmp_path / "own_parts.py").write_text(OWN)
    (tmp_path / "bad_import.py").write_text("\nimport nowhere_at_all\n")
    (tmp_path / "bad_syntax.py").write_text("\n\ndef broken(:\n")
    (tmp_path / CONF / "output/rating.yaml").write_text("_target_: own_parts.Rating\n")
    for name in ("own_parts", "bad_import", "bad_syntax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return CONF


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["prompts.zero_shot.strategy._target_=own_parts.two"],
         r"prompts.zero_shot.strategy \(in conf/prompt/zero_shot.yaml\): own_parts.two cannot be called with"
         r" \(task, pool, seed\): too many positional arguments; expected `def two\(task, pool, seed\)`, and settings"),
        (["prompts.zero_shot.strategy._target_=own_parts.setting"],
         r"missing a required argument: 'role'; expected `def setting\(task, pool, seed\)`, and settings after `\*`"),
        (["prompts.zero_shot.strategy._target_=own_parts.Two"], r"expected `def __init__\(self, task, pool, seed\)`"),
        (["prompts.zero_shot.strategy._target_=own_parts.unknown_type"],
         r"zero_shot.yaml\): the annotations of own_parts.unknown_type cannot be read: name 'Role' is not defined"),
        (["prompts.zero_shot.decoding._target_=own_parts.one"],
         r"prompts.zero_shot.decoding \(in conf/prompt/zero_shot.yaml\): .*expected `def one\(task, seed\)`"),
        (["checkpoint=[base,full]", "checkpoints.full.tuner.adapter._target_=own_parts.three"],
         r"full.tuner.adapter \(in conf/checkpoint/full.yaml\): .*required argument: 'c'; .* `def three\(model, task"),
        (["metrics.accuracy.totals._target_=own_parts.two"],
         r"accuracy.totals \(in conf/metric/accuracy.yaml\): .*expected `def two\(task, answer, target\)`"),
        (["+metrics.accuracy.value._target_=own_parts.three"], r"accuracy.value .*expected `def three\(totals, n\)`"),
        (["metrics.macro_f1.effective_n._target_=own_parts.one"], r"effective_n .*expected `def one\(totals, n\)`"),
        (["trigger=[changed]", "retrain.triggers.changed._target_=own_parts.two"],
         r"retrain.triggers.changed \(in conf/trigger/changed.yaml\): .*expected `def two\(evidence\)`"),
        (["model=local", "model.source._target_=own_parts.two"],
         r"model.source \(in conf/model/local.yaml\): .*expected `def two\(target_folder\)`"),
        (["optimise.decodings.constrained._target_=own_parts.one"],
         r"optimise.decodings.constrained \(in conf/optimise/default.yaml\): .*expected `def one\(task, seed\)`"),
    ],
)  # fmt: skip
def test_a_component_is_called_as_its_kind_is(conf: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose(overrides, conf)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("own_prts.one", r"no module 'own_prts' in the repository's root, {root}, or among the installed packages;"
                         r" did you mean 'own_parts'\? Known: bad_import, bad_syntax, own_parts"),
        ("whether.promt.strategies.knn", r"whether has no module 'promt'; did you mean 'prompt'\?"),
        ("own_parts.one.two", r"own_parts has no module 'one'$"),
        ("bad_import.one", r"bad_import cannot be imported \(bad_import.py, line 2\): ModuleNotFoundError: .*nowhere"),
        ("bad_syntax.one", r"bad_syntax cannot be imported \(bad_syntax.py, line 3\): SyntaxError: invalid syn"),
        ("own_parts.onne", r"own_parts has no 'onne'; did you mean 'one'\?"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_imported_is_named(conf: Path, target: str, message: str) -> None:
    where = r"prompts.zero_shot.strategy._target_ \(in conf/prompt/zero_shot.yaml\): .*"
    with pytest.raises(ConfigError, match=where + message.replace("{root}", str(Path.cwd()))):
        compose([f"prompts.zero_shot.strategy._target_={target}"], conf)


def rating(conf: Path, *overrides: str) -> str:
    return compose(["task=arithmetic", "task.output=rating", "task.answer_pattern=null", *overrides], conf)


def test_a_kind_of_output_names_metrics_that_there_are(conf: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"conf/output/rating.yaml: own_parts.Rating names the metric 'exact_mach' in `metrics`, and there is no"
        r" file conf/metric/exact_mach.yaml; did you mean 'exact_match'\? Known: accuracy, exact_match, macro_f1",
    ):
        rating(conf)
    (conf / "metric/exact_mach.yaml").write_text((conf / "metric/exact_match.yaml").read_text())
    rating(conf)  # a metric that there is, and that the run does not select
    (conf / "output/rating.yaml").write_text("_target_: own_parts.Word\n")
    with pytest.raises(ConfigError, match=r"own_parts.Word.metrics is 'exact_match': expected names .* in a tuple"):
        rating(conf)


def test_a_metric_names_kinds_of_output_that_there_are(conf: Path) -> None:
    (conf / "metric/mine.yaml").write_text(
        "# @package metrics.mine\ntotals: {_target_: whether.metrics.quality.equal}\nlabel: mine\n"
        "higher_is_better: true\noutputs: [label, ratng]\n"
    )
    with pytest.raises(
        ConfigError,
        match=r"metrics.mine.outputs \(in conf/metric/mine.yaml\): there is no kind of output 'ratng', which would be a"
        r" file conf/output/ratng.yaml; did you mean 'rating'\? Known: json, label, rating, text",
    ):
        compose(["metric=[accuracy,mine]"], conf)


def test_a_setting_of_an_output_kind_is_overridden_as_any_other(conf: Path) -> None:
    (conf / "metric/exact_mach.yaml").write_text((conf / "metric/exact_match.yaml").read_text())
    (conf / "output/rating.yaml").write_text("_target_: own_parts.Rating\nlowest: 1\n")
    assert "lowest: 3\n" in rating(conf, "task.output_settings.lowest=3")
    assert "lowest: 4\n" in rating(conf, "+task.output_settings.lowest=4")
    assert "lowest: 5\n" in rating(conf, "task.output_settings={lowest: 5}")
    with pytest.raises(ConfigError, match=r"output_settings.lowest \(in conf/output/rating.yaml\): .*and is 'low'"):
        rating(conf, "task.output_settings.lowest=low")


def test_a_tuner_without_its_defaults_is_one_line_that_says_so(conf: Path) -> None:
    (conf / "checkpoint/mine.yaml").write_text(
        "# @package checkpoints.mine\ntuner:\n  epochs: 2\n  adapter: {_target_: whether.finetune.adapters.full}\n"
    )
    with pytest.raises(ConfigError) as caught:
        compose(["checkpoint=[base,mine]"], conf)
    assert str(caught.value) == (
        "checkpoints.mine.tuner (in conf/checkpoint/mine.yaml): needs learning_rate, batch_size, warmup_ratio,"
        " weight_decay, max_grad_norm, evaluations_per_epoch, patience, max_length: begin the file with the line"
        " `defaults: [shared/training@_here_, _self_]`, which takes them from conf/tuner"
    )


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("task/snips.yaml", "name: a\ninputs: {unclosed\n",
         "conf/task/snips.yaml, line 3, is not YAML: expected ',' or '}', but got '<stream end>' (while parsing a flow"
         " mapping that begins in line 2)"),
        ("output/label.yaml", "_target_: a\n\tb: 1\n",
         "conf/output/label.yaml, line 2, is not YAML: found character '\\t' that cannot start any token"),
        ("policy/default.yaml", "margin: 0.1\nmargin: 0.2\n",
         "conf/policy/default.yaml, line 2, is not YAML: found duplicate key margin (while constructing a mapping that"
         " begins in line 1)"),
    ],
)  # fmt: skip
def test_what_is_not_yaml_is_one_line(conf: Path, file: str, text: str, message: str) -> None:
    (conf / file).write_text(text)
    with pytest.raises(ConfigError) as caught:
        compose(conf=conf)
    assert str(caught.value) == message
