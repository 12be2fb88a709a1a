"""Where malformed inputs go: repositories on a tiny model, each with one file that is not as it should be.

A family is a kind of input: how it is drawn, which file or words it becomes, and the commands that meet it.
"""

import contextlib
import csv
import io
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml
from hypothesis import strategies as st
from mutations import Row, changed_bytes, changed_document, changed_rows, changed_words, either

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cases")]

from scratch import BASE_TASK, SETTINGS, Scratch  # noqa: E402

ROWS: list[Row] = [
    {"text": f"{word} number {n} of many", "label": label}
    for n in range(12)
    for label, word in (("a", "apple"), ("b", "bear"))
]
ARRIVED: list[Row] = [{"text": f"new apple {n}", "label": "ab"[n % 2]} for n in range(6)]
LORA = "artifacts/finetune/lora/checkpoint"
STAGES = ("prepare", "training_set", "finetune base", "finetune lora", "finetune served", "prompt", "backend")
PRICE = "{date: '2026-01-01', source: none, usd_per_1m_input: 0, usd_per_1m_output: 0}"
BUNDLE = """
import dataclasses, hashlib
from pathlib import Path
from whether.bundle.bundle import prompt_hash, write_bundle
from whether.compare.provenance import model_hash
from whether.config import load
from whether.records import BundleRecord, Champion, read_json, sha256_file, write_json, write_jsonl
config, artifacts = load(), Path("artifacts")
sources = {name: artifacts / "prepare" / name for name in ("task.json", "train.jsonl")}
checkpoint = artifacts / "finetune" / "lora" / "checkpoint"
sources |= {f"checkpoint/{file.relative_to(checkpoint)}": file for file in checkpoint.rglob("*") if file.is_file()}
for name in ("predictions.jsonl", "verdict.json"):
    Path(name).write_text("{}")
    sources[name] = Path(name)
prompt = config.prompts["zero_shot"]
record = BundleRecord(
    id="b", arm="lora-zero_shot", checkpoint="lora", prompt_name="zero_shot", task="case", kind="fine_tune",
    model="tiny", model_hash=model_hash(artifacts / "model"), model_settings=dataclasses.asdict(config.model),
    prompt=dataclasses.asdict(prompt), prompt_hash=prompt_hash(config, prompt), seed=0, quality=1.0,
    metric="accuracy", metrics={}, commit=None, labels=1,
    files={name: sha256_file(file) for name, file in sources.items()},
)
write_bundle(record, sources, Path("retrain/bundles/b"))
write_json(Path("retrain/champion.json"), Champion("b", None, "2026-01-01T00:00:00+00:00", 1, "first"))
"""


@dataclass
class Made:
    """An input that was drawn."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Path in the repository → content."""
    words: list[str] = field(default_factory=list)
    rows: list[Row] | None = None
    """The rows that went in, where they have the columns that the task reads: none may vanish or become another."""
    reply: tuple[int, bytes] | None = None
    """Status and body of every answer of the API."""


class Found(NamedTuple):
    """What records say of the rows that went in."""

    accounted: int
    """Rows that are kept, or counted as something else."""
    kept: list[tuple[str, str | None]]
    """Text and label of each that is kept."""


@dataclass
class Family:
    """A kind of input."""

    name: str
    base: Path
    """A repository in which everything is right."""
    drawn: st.SearchStrategy[Made]
    commands: list[list[str]]
    """Words after `python -m`; `...` stands for the words of the input."""
    found: Callable[[Path], Found] | None = None
    """From a repository to what its records say of the rows."""
    fails: bool = False
    """Whether the last command ends with status 1 by design (the stub in place of a pipeline)."""


class Api(ThreadingHTTPServer):
    """Answers /<number>/v1/… with what was put down for that number."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: dict[str, tuple[int, bytes]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        """Read the request and answer."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer(*self.server.replies.get(self.path.split("/")[1], (200, json.dumps(REPLY).encode())))

    def do_GET(self) -> None:
        """There is no list of models and no OpenAPI document."""
        self._answer(404, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client that has heard enough
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


REPLY = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}  # fmt: skip


def as_csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = list(dict.fromkeys(name for row in rows for name in row))
    writer.writerows([heads, *([row.get(name, "") for name in heads] for row in rows)])
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_jsonl(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    try:
        table = pa.Table.from_pylist(list(rows))
    except (pa.ArrowException, ValueError, OverflowError, UnicodeError):
        table = pa.Table.from_pylist([{str(name): arrow_text(value) for name, value in row.items()} for row in rows])
    pq.write_table(table, out)
    return out.getvalue()


def is_text(value: object) -> bool:
    """Return whether a value is a text that every format can hold: no half of a character."""
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()


def arrow_text(value: object) -> str:
    """Return a text as it is, and anything else as Python writes it."""
    return str(value) if is_text(value) else repr(value)


FORMATS: Mapping[str, Callable[[Sequence[Row]], bytes]] = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}


def of_table(name: str, write: Callable[[Sequence[Row]], bytes], rows: Sequence[Row]) -> st.SearchStrategy[Made]:
    """A file of rows with cells, or bytes, that were not expected."""

    def made(changed: list[Row]) -> Made:
        same_columns = bool(changed) and all(row.keys() == {"text", "label"} for row in changed)
        return Made({name: write(changed)}, rows=changed if same_columns else None)

    return either(
        lambda: changed_rows(rows).map(made), lambda: changed_bytes(write(rows)).map(lambda whole: Made({name: whole}))
    )


def of_file(name: str, whole: bytes) -> st.SearchStrategy[Made]:
    """A file with other bytes; a JSON document also with other values."""
    ways: list[Callable[[], st.SearchStrategy[Made]]] = [
        lambda: changed_bytes(whole).map(lambda changed: Made({name: changed}))
    ]
    if name.endswith(".json"):
        document = json.loads(whole)
        ways.append(lambda: changed_document(document).map(lambda changed: Made({name: json.dumps(changed).encode()})))
    return either(*ways)


def of_files(folder: Path, names: Sequence[str]) -> st.SearchStrategy[Made]:
    return st.sampled_from(sorted(names)).flatmap(lambda name: of_file(name, (folder / name).read_bytes()))


def of_task() -> st.SearchStrategy[Made]:
    """conf/task/case.yaml with other values, or other text."""
    task = {**BASE_TASK, "source": {"path": "rows.csv"}}
    text = yaml.safe_dump(task, sort_keys=False).encode()

    def made(document: Any) -> Made:
        return Made({"conf/task/case.yaml": yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "replace")})

    return either(
        lambda: changed_document(task).map(made),
        lambda: changed_bytes(text).map(lambda whole: Made({"conf/task/case.yaml": whole})),
    )


def of_answers() -> st.SearchStrategy[Made]:
    """What an API answers."""
    statuses = st.sampled_from([200, 200, 200, 200, 201, 204, 301, 400, 401, 404, 418, 422, 429, 500, 503])
    bodies = either(
        lambda: changed_document(REPLY).map(lambda body: json.dumps(body).encode()),
        lambda: changed_bytes(json.dumps(REPLY).encode()),
    )
    return st.tuples(statuses, bodies).map(lambda reply: Made(reply=reply))


class Places:
    """The repositories in which everything is right, and the families."""

    def __init__(self, folder: Path, python: Path):
        (folder / "scratch").mkdir()
        self.scratch, self.api = Scratch(folder / "scratch", python), Api()
        self.python, self.folder = python, folder
        self.words = [
            *SETTINGS, "checkpoint=[base,lora,served]", "tuner.epochs=1", f"checkpoints.served.served.price={PRICE}",
            f"checkpoints.served.served.base_url={self.api.url}/number/v1", "checkpoints.served.served.model=m",
            "checkpoints.served.served.attempts=1", "checkpoints.served.served.timeout=5",
        ]  # fmt: skip
        self.whole = self._repository("csv")
        for stage in (*STAGES, "generate base zero_shot", "generate lora zero_shot"):
            self._run("-m", f"pipelines.{stage.split()[0]}", *stage.split()[1:], where=self.whole)
        source = json.loads((self.whole / "artifacts" / "prepare" / "profile.json").read_text())
        assert source["rows"]["read"] == len(ROWS)
        self._run("-c", BUNDLE, where=self.whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.shutdown()
        self.api.server_close()

    def families(self) -> list[Family]:
        """Return them all."""
        whole, generate = self.whole, "pipelines.generate"
        tables = [
            Family(
                f"rows.{name}", whole if name == "csv" else self._repository(name),
                of_table(f"rows.{name}", write, ROWS), [["pipelines.prepare"]], accounted,
            )
            for name, write in FORMATS.items()
        ]  # fmt: skip
        adapter = [str(file.relative_to(whole)) for file in (whole / LORA).rglob("*.*") if file.is_file()]
        bundle = [str(file.relative_to(whole)) for file in (whole / "retrain").rglob("*.*") if file.is_file()]
        model = [f"models/mine/{file.name}" for file in self.scratch.model.iterdir()]
        shutil.copytree(self.scratch.model, whole / "models" / "mine")
        inbox = [
            Family(
                f"inbox.{name}", whole, of_table(f"inbox/new.{name}", write, ARRIVED),
                [["pipelines.retrain", *self.words]], taken, fails=True,
            )
            for name, write in FORMATS.items() if name != "parquet"
        ]  # fmt: skip
        return [
            *tables,
            Family("task", whole, of_task(), [["pipelines.compose", *self.words], ["pipelines.prepare"]]),
            Family("overrides", whole, changed_words(self.words).map(lambda words: Made(words=words)),
                   [["pipelines.compose", "..."]]),
            Family("answers", whole, of_answers(), [[generate, "served", "zero_shot"]]),
            Family("model", whole, of_files(whole, model), [["pipelines.model"], [generate, "base", "zero_shot"]]),
            Family("adapter", whole, of_files(whole, adapter), [[generate, "lora", "zero_shot"]]),
            Family("bundle", whole, of_files(whole, bundle), [["whether", "predict", "ask.csv"]]),
            *inbox,
        ]  # fmt: skip

    def _repository(self, ending: str) -> Path:
        """A repository whose rows have this ending, with params.yaml."""
        kind = self.folder / f"kind-{ending}"
        kind.mkdir()
        (kind / f"rows.{ending}").write_bytes(FORMATS[ending](ROWS))
        (kind / "ask.csv").write_text("text\nan apple\n")
        place: Path = self.scratch._repository(kind, {"id": ending, "files": [f"rows.{ending}"]})
        self._run("-m", "pipelines.compose", *self.words, where=place)
        return place

    def _run(self, *words: str, where: Path) -> None:
        done = subprocess.run(
            [str(self.python), *words],
            cwd=where,
            env=self.scratch.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}\n{done.stdout}{done.stderr}")


def accounted(place: Path) -> Found:
    """Return what prepare's profile and its files say."""
    folder = place / "artifacts" / "prepare"
    rows = json.loads((folder / "profile.json").read_text())["rows"]
    kept = [one for name in ("train", "dev", "test") for one in json_lines(folder / f"{name}.jsonl")]
    named = ("bad", "duplicates", "not_sampled", "other_split", "recent", "unseen")
    return Found(
        sum(rows[name] for name in named) + len(kept), [(one["inputs"]["text"], one["target"]) for one in kept]
    )


def taken(place: Path) -> Found:
    """Return what the retraining run's record and its files say."""
    counts = json_lines(place / "retrain" / "runs.jsonl")[-1]["intake"]
    kept = [row for file in (place / "data" / "collected").glob("*") for row in json_lines(file)]
    aside = sum(len(json_lines(file)) for file in (place / "retrain" / "quarantine").glob("*"))
    duplicates = sum(row["destination"] in ("duplicate", "repeat") for row in kept)
    labelled = [(row["row"]["text"], row["row"].get("label")) for row in kept]
    return Found(len(kept) - duplicates + counts["duplicates"] + aside, labelled)


def json_lines(file: Path) -> list[Any]:
    """Return the values of a JSONL file."""
    return [json.loads(line) for line in file.read_bytes().splitlines()]
