"""One table in the formats that people have: the same splits from each, so the same verdict."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from workbooks import write_workbook

from whether.config import CONF, SourceConfig, check, compose
from whether.prepare.prepare import prepare

ROOT = Path(__file__).parents[2]
Rows = list[dict[str, str]]


def european(path: Path, rows: Rows) -> None:
    """As LibreOffice saves CSV where the comma is the decimal sign: semicolons, a byte-order mark, CR LF."""
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, ["text", "queue"], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def unicode_text(path: Path, rows: Rows) -> None:
    """As Excel saves "Unicode text"."""
    lines = ["text\tqueue", *("\t".join(row.values()) for row in rows)]
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode("utf-16"))


def utf16_commas(path: Path, rows: Rows) -> None:
    european(path, rows)
    path.write_bytes(path.read_text(encoding="utf-8-sig").encode("utf-16"))


def workbook(path: Path, rows: Rows) -> None:
    write_workbook(path, {"Tickets": [["text", "queue"], *(list(row.values()) for row in rows)]})


def chats(path: Path, rows: Rows) -> None:
    """As hosted fine-tuning services take them."""
    lines = [
        {
            "messages": [
                {"role": "system", "content": "Sort the ticket."},
                {"role": "user", "content": row["text"]},
                {"role": "assistant", "content": row["queue"]},
            ]
        }
        for row in rows
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def conversations(path: Path, rows: Rows) -> None:
    lines = [
        {"conversations": [{"from": "human", "value": row["text"]}, {"from": "gpt", "value": row["queue"]}]}
        for row in rows
    ]
    path.write_text(json.dumps(lines, indent=2))


def parquet(path: Path, rows: Rows) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.heavy
def test_the_same_splits_from_every_format(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = check(yaml.safe_load(compose(["task=tickets"], conf=ROOT / CONF)))
    with (ROOT / "examples/tickets.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    task = replace(whole.task, max_new_tokens=64)
    monkeypatch.chdir(tmp_path)

    def prepared(name: str, write: Callable[[Path, Rows], None], changed: dict[str, Any]) -> dict[str, bytes]:
        write(Path(name), rows)
        out = tmp_path / f"{name}-{write.__name__}"
        out.mkdir()
        given = replace(task, source=SourceConfig(path=name), **changed)
        prepare(given, 0, model_folder=tiny_model, folder=out)
        return {split: (out / f"{split}.jsonl").read_bytes() for split in ("train", "dev", "test")}

    own = prepared("own.parquet", parquet, {})
    for name, write, changed in (
        ("tickets.csv", european, {}),
        ("tickets.csv", utf16_commas, {}),
        ("tickets.txt", unicode_text, {}),
        ("tickets.jsonl", chats, {"inputs": {"message": "messages"}, "target": "messages"}),
        ("tickets.json", conversations, {"inputs": {"message": "conversations"}, "target": "conversations"}),
        ("tickets.xlsx", workbook, {}),
    ):
        assert prepared(name, write, changed) == own, (name, write.__name__)
