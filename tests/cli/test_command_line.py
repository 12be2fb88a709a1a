"""The command as a process, and that no command line ends in a traceback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from parsing import verbs
from typer.main import get_command

from whether import __version__
from whether.cli.app import app, command
from whether.cli.progress import LOCK, LOG
from whether.config import CONF, compose
from whether.errors import RecordError, WhetherError
from whether.records import exclusive_lock

ROOT = Path(__file__).parents[2]
INSTALLING = ("--install-completion", "--show-completion")
OPTIONS = sorted(
    {
        option
        for verb in get_command(app).commands.values()  # type: ignore[attr-defined]
        for parameter in verb.params
        for option in parameter.opts
        if option.startswith("-")
    }
)
NAMES = [
    "knn", "lora", "base", "task=fever", "task=nothing", "tuner.r=x", "prompt=[", "=", "a=", "=b", "~", "~task", "+x=1",
    "", "-", "--", "-x", "--help", "--json=1", "1", "-1", ".", "..", "params.yaml", "artifacts/compare", "runs:/x",
    "HEAD", "https://x/v1?a=b", "\udcff", "a b", "a\nb", "[", "{", "${x}", "x" * 300,
]  # fmt: skip
VERBS = [word for words in verbs() for word in words]
WORDS = st.one_of(
    st.sampled_from(VERBS), st.sampled_from(OPTIONS), st.sampled_from(NAMES),
    st.text(st.characters(exclude_characters="\0"), max_size=6),
)  # fmt: skip


def ends_well(argv: list[str]) -> None:
    """Do what a command line says: it returns a status, or raises what is told in a line."""
    if set(argv) & set(INSTALLING):
        return
    try:
        status = command(argv)
    except WhetherError as error:
        assert error.status in (1, 2)  # noqa: PT017
        assert str(error)  # noqa: PT017
    else:
        assert status in (None, 0, 1, 3, 75)


@pytest.mark.heavy
@given(st.lists(WORDS, max_size=5))
@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_command_line_ends_in_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    if argv[:1] != ["lm-eval"]:  # whose words are not ours
        ends_well(argv)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with settings, and nothing that was made."""
    shutil.copytree(ROOT / CONF, tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(compose())
    return tmp_path


READING = ["verdict", "predict", "estimate", "price", "preview", "search", "optimise", "export", "report"]


@pytest.mark.heavy
@given(st.sampled_from(READING), st.lists(WORDS, max_size=4))
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_none_does_where_there_are_settings(repository: Path, verb: str, words: list[str]) -> None:
    ends_well([verb, *words])
    assert sorted(path.name for path in repository.iterdir()) == ["conf", "params.yaml"]


def whether(*words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    start = [sys.executable, "-m", "whether.cli", *words]
    return subprocess.run(start, text=True, check=False, capture_output=True, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.heavy
def test_its_ends(tmp_path: Path) -> None:
    done = whether("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"whether {__version__}\n", "")
    done = whether("verdict", "--jsn")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: whether verdict: no option '--jsn'; did you mean '--json'")
    assert done.stderr.count("\n") == 1
    done = whether("report", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: artifacts/report/report.html is not there yet: `whether run` makes it\n"


@pytest.mark.heavy
def test_nobody_reads_what_it_prints() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    start = [sys.executable, "-m", "whether.cli", "--help"]
    done = subprocess.run(start, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.heavy
def test_the_shell_completes_verbs() -> None:
    asked = {"_WHETHER_COMPLETE": "complete_bash", "COMP_WORDS": "whether retrain wi", "COMP_CWORD": "2"}
    done = whether(env=os.environ | asked)
    assert (done.returncode, done.stdout.split()) == (0, ["withdraw"])


@pytest.mark.heavy
@pytest.mark.usefixtures("commands")
def test_a_verb_has_its_earlier_name_too(tmp_path: Path) -> None:
    start = [sys.executable, "-m", "pipelines.answer", "nothing.jsonl"]
    done = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: whether predict: 'nothing.jsonl' is not a file\n")


@pytest.mark.heavy
def test_settings_may_name_functions_of_the_working_folder(repository: Path) -> None:
    (repository / "mine.py").write_text("def polite(task, examples, seed):\n    return None\n")
    (repository / "conf/prompt/polite.yaml").write_text(
        "# @package prompts.polite\nstrategy: {_target_: mine.polite}\n"
    )
    script = f"import sys; sys.argv[1:] = ['preview', 'polite']; from whether.cli.app import main; main() # {sys.path}"
    # As an installed script starts: without the working folder among the places to import from.
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.remove(''); {script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith("error: artifacts/prepare/task.json is missing: a preview needs the task's rows")


def test_the_report_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("artifacts/report").mkdir(parents=True)
    Path("artifacts/report/report.html").touch()
    assert command(["report"]) is None
    assert capsys.readouterr().out == f"{tmp_path.resolve()}/artifacts/report/report.html\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "."], "whether predict: '.' is not a file"),
        (["estimate"], "no served model is selected"),
        (["estimate", "checkpoint=[base,served]"], "checkpoints.served.served needs a price"),
        (["preview", "knn,zero_shot"], "no prompt 'knn,zero_shot' in these settings; did you mean 'zero_shot'"),
        (["preview", "nothing"], "prompt=nothing: no file conf/prompt/nothing.yaml"),
        (["run", "task=snipz"], "task=snipz: no file .*did you mean 'snips'"),
        (["verdict", "--against", "x" * 300], "File name too long|artifacts/compare/verdict.json is missing"),
        (["publish", "tracking=none"], "whether publish: 'tracking=none' is a setting, and this verb takes none"),
    ],
)
def test_what_goes_wrong_is_said(repository: Path, words: list[str], said: str) -> None:
    with pytest.raises(WhetherError, match=said):
        command(words)


@pytest.mark.parametrize("verb", ["run", "quick"])
def test_a_second_run_in_the_same_folder_is_refused_before_it_writes(repository: Path, verb: str) -> None:
    before = Path("params.yaml").read_bytes()
    LOG.parent.mkdir()
    LOG.write_text("of the first run")
    with (
        exclusive_lock(LOCK, lambda: RecordError("taken")),
        pytest.raises(RecordError, match=rf"another `whether run` or `whether quick` is at work in {repository}: wait"),
    ):
        command([verb, "seed=7"])
    assert LOG.read_text() == "of the first run"
    assert Path("params.yaml").read_bytes() == before


@pytest.mark.heavy
def test_what_pip_prints_is_kept_in_the_log_which_a_failed_download_names(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "XDG_CACHE_HOME": "cache"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    done = whether("run")
    first, second, *rest = done.stderr.splitlines()[-3:]
    assert done.returncode == 1
    assert first == "fetching bigbench 1.0.0 ..."
    assert second.startswith("error: bigbench==1.0.0 cannot be downloaded")
    assert rest == [f"everything that was printed: {LOG}"]
    assert "No matching distribution" in LOG.read_text()
