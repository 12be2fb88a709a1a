"""Fixtures that every test can use: a tiny random model, the real small one, and a task."""

import gc
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from order import (  # noqa: F401 - pytest calls them
    pytest_collection_modifyitems,
    pytest_report_header,
    pytest_xdist_make_scheduler,
)
from warm_python import warm_python

from whether.entry import prepare_process
from whether.records import Example, Task, write_json, write_jsonl

if TYPE_CHECKING:
    from whether.engine.local import LocalModel

prepare_process()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # tests share the cores lane by lane, not thread by thread
    os.environ.setdefault("OMP_NUM_THREADS", "1")

MEMORY = Path("/dev/shm")
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 8 * 2**30:
    # Databases that wait for a disk after every row would take a quarter of the time.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

ROOT = Path(__file__).parents[1]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write a random Llama of some 100,000 parameters with a byte-level BPE tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([(ROOT / "LICENSE").read_text()], trainer)  # a text that nobody edits
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id, bos_token_id=fast.bos_token_id, tie_word_embeddings=True, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_able_model(tiny_model: Path, folder: Path) -> Path:
    """Write the tiny model with an embedding for the token that ends a turn: as its padding token it has zeros, and so
    (input and output embeddings are one) no answer could ever end."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        torch.manual_seed(0)
        model.get_input_embeddings().weight[tokenizer.eos_token_id].normal_(std=0.2)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def unswept() -> Iterator[None]:
    """What libraries and fixtures made stays: without this each collection of garbage looks through all of torch."""
    gc.freeze()
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 kB, which fills at once; it takes root to mount one."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    may = os.geteuid() == 0 and shutil.which("mount") is not None
    if not may or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random Llama with a chat template."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_model: Path) -> "LocalModel":
    """The tiny model, loaded."""
    from references import model_config

    from whether.engine.local import LocalModel

    return LocalModel.load(tiny_model, None, model_config())


@pytest.fixture(scope="session")
def vocabulary(tiny: "LocalModel") -> int:
    """Tokens that the tiny model knows."""
    return int(tiny.model.config.vocab_size)


@pytest.fixture(scope="session")
def able_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, as `make_able_model` changes it."""
    return make_able_model(tiny_model, tmp_path_factory.mktemp("model") / "able")


@pytest.fixture(scope="session")
def of_all_lanes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all lanes of this run see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def real_model(of_all_lanes: Path) -> Path:
    """Folder of the default model, SmolLM2-135M-Instruct, made by the project's own model source; not to be changed."""
    import yaml

    from whether.config import CONF, build, check, compose

    made = os.environ.get("WHETHER_TEST_MODEL")
    if made:
        return Path(made)
    folder = of_all_lanes / "smollm2"
    with FileLock(of_all_lanes / "smollm2.lock"):
        if not folder.exists():
            part = folder.with_name("smollm2.part")
            part.mkdir()
            config = check(yaml.safe_load(compose(conf=ROOT / CONF)))
            build(config.model.source, part, where="model.source")
            part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def empty_database(of_all_lanes: Path) -> Path:
    """A database as MLflow makes it, which takes seconds; it knows one experiment that no test uses. To be copied."""
    from whether.tracking.connection import open_experiment

    root = of_all_lanes / "database"
    root.mkdir(exist_ok=True)
    with FileLock(root / "lock"):
        if not (root / "mlflow.db").exists():
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The ``noload`` loader strategy is deprecated")  # MLflow's own
                with open_experiment("sqlite:///mlflow.db", "of another task", root):
                    pass
    return root / "mlflow.db"


@pytest.fixture(scope="session")
def warm(of_all_lanes: Path) -> Iterator[Path]:
    """Folder with a `python` that starts stages in a tenth of a second, to put first on PATH."""
    with warm_python(of_all_lanes / "warm-python") as folder:
        yield folder


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `python -m pipelines...` and `python -m whether...` work in any working folder."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")


@pytest.fixture
def label_task() -> Task:
    """A label task with three labels."""
    return Task(
        name="tickets", output="label", metric="accuracy", instruction="Which queue? One of: billing, tech, other.",
        input_template="", labels=["billing", "tech", "other"], schema=None, answer_pattern=None, max_new_tokens=6,
    )  # fmt: skip


@pytest.fixture
def examples() -> list[Example]:
    """Thirty labelled examples, ten of each label."""
    words = {"billing": "invoice refund payment", "tech": "crash login error", "other": "hello thanks address"}
    return [
        Example(
            id=f"{label}-{number}", inputs={"text": f"{words[label].split()[number % 3]} number {number}"}, target=label
        )
        for number in range(10)
        for label in words
    ]


@pytest.fixture
def make_artifacts(tmp_path: Path) -> Callable[[Path, Task, list[Example]], Path]:
    """Return a function that lays out artifacts/ as the stages before the arms leave it."""

    def make(model: Path, task: Task, examples: list[Example]) -> Path:
        artifacts = tmp_path / "artifacts"
        (artifacts / "finetune").mkdir(parents=True)
        (artifacts / "model").symlink_to(model)
        write_json(artifacts / "finetune" / "base" / "checkpoint" / "checkpoint.json", {"kind": "base"})
        write_json(artifacts / "prepare" / "task.json", task)
        third = len(examples) // 3
        for number, split in enumerate(("train", "dev", "test")):
            part = examples[number * third : (number + 1) * third]
            write_jsonl(artifacts / "prepare" / f"{split}.jsonl", part)
        return artifacts

    return make
