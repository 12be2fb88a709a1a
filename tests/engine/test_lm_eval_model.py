"""lm-eval's results with our engine equal those of its own `hf` backend, document by document."""

import json
import os
import subprocess
import sys

import pytest
from lm_eval.api.instance import Instance

from whether.engine.lm_eval_model import EngineLM
from whether.errors import EngineError
from whether.records import Decoding, Sampling

CHOICES = """
task: colours
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/colours.jsonl}}}}
test_split: test
fewshot_split: test
num_fewshot: 2
output_type: multiple_choice
doc_to_text: "{{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
WRITING = """
task: writing
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/colours.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[0]}}}}"
generation_kwargs: {{until: ["e"], max_gen_toks: 12, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""
READING = """
task: reading
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/colours.jsonl}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list: [{{metric: word_perplexity}}]
"""


@pytest.fixture(scope="module")
def peer(tiny):
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=tiny.model, tokenizer=tiny.tokenizer, batch_size=1)


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A folder with three tasks, and a cache for their data of its own."""
    rows = [
        {"question": f"What colour is a {thing}? " * 3, "choices": ["green", "dark red", " blue ", "é"], "answer": 1}
        for thing in ("leaf", "rose", "sky", "日本", "house")
    ]
    (tmp_path / "colours.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, text in {"colours": CHOICES, "writing": WRITING, "reading": READING}.items():
        (tmp_path / f"{name}.yaml").write_text(text.format(folder=tmp_path))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


def evaluated(model, folder, tasks, **options):
    """Run tasks; return the filtered responses by task and document, and the whole report."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    report = lm_eval.simple_evaluate(
        model=model,
        tasks=tasks,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        **options,
    )
    return {
        (task, sample["doc_id"]): sample["filtered_resps"]
        for task, samples in report["samples"].items()
        for sample in samples
    }, report


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, response in ours.items():
        if key[0] == "colours":
            for (value, greedy), (other, other_greedy) in zip(response, theirs[key], strict=True):
                assert float(value) == pytest.approx(float(other), abs=1e-4)
                assert str(greedy) == str(other_greedy)
        elif key[0] == "reading":
            assert float(response[0]) == pytest.approx(float(theirs[key][0]), abs=1e-3)
        else:
            assert response == theirs[key]


LONG = "word " * 900
TASKS = ["colours", "writing", "reading"]
CHAT = {"apply_chat_template": True, "system_instruction": "Be brief.", "num_fewshot": 2}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"tasks": TASKS}, ""),
        ({"tasks": TASKS}, ",add_bos_token=True"),
        ({"tasks": TASKS[:2], **CHAT, "fewshot_as_multiturn": True}, ""),
        ({"tasks": TASKS[:2], **CHAT, "fewshot_as_multiturn": False}, ""),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:accelerate")
def test_registered_name_gives_what_hf_gives(tiny_model, tasks, options, more):
    arguments = f"pretrained={tiny_model},dtype=float32{more}"
    ours, report = evaluated("whether", tasks, model_args=f"{arguments},threads=1", device="cpu", **options)
    theirs, _ = evaluated("hf", tasks, model_args=arguments, device="cpu", **options)
    assert_equal(ours, theirs)
    assert report["config"]["shares_prefixes"]
    assert report["config"]["truncated_requests"] == 0


@pytest.mark.heavy
def test_command_line(tiny_model, tiny, peer, tasks):
    arguments = f"pretrained={tiny_model},dtype=float32,threads=1"
    command = [sys.executable, "-m", "whether.cli", "lm-eval", "--model", "whether", "--model_args", arguments]
    command += ["--tasks", ",".join(TASKS), "--include_path", str(tasks), "--batch_size", "8", "--device", "cpu"]
    command += ["--output_path", str(tasks / "out"), "--log_samples"]
    environment = os.environ | {"HF_DATASETS_CACHE": str(tasks / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "batch_size 8 is without effect" in done.stderr
    files = tasks.glob("out/*/samples_*")
    rows = [(file, json.loads(line)) for file in files for line in file.read_text().splitlines()]
    assert len(rows) == 15
    ours = {(file.name.split("_")[1], row["doc_id"]): row["filtered_resps"] for file, row in rows}
    assert_equal(ours, evaluated(peer, tasks, TASKS)[0])
    (results,) = tasks.glob("out/*/results_*.json")
    assert json.loads(results.read_text())["config"]["model_dtype"] == "torch.float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pretraind=x", "'whether' has no argument 'pretraind'; did you mean 'pretrained'"),
        ("dtype=float32", "pretrained"),
        ("pretrained=x,dtype=float16", "dtype: .*'float32' or 'bfloat16', and is 'float16'"),
        ("pretrained=x,device=tpu", "device: .*'auto', 'cpu', 'cuda'.*, and is 'tpu'"),
        ("pretrained=x,truncation=right", "truncation: .*'error' or 'left', and is 'right'"),
        ("pretrained=x,threads=0", "threads: .*greater than or equal to 1, and is 0"),
    ],
)
def test_bad_model_arguments(arguments, message):
    with pytest.raises(EngineError, match=f"model_args: .*{message}"):
        EngineLM.create_from_arg_string(arguments)


def test_checkpoint_argument(tiny_model, tmp_path, tiny):
    (tmp_path / "checkpoint.json").write_text('{"kind": "adapter"}')
    with pytest.raises(EngineError, match="adapter cannot be merged"):
        EngineLM.create_from_arg_obj({"pretrained": str(tiny_model), "checkpoint": str(tmp_path), "threads": 1})


def test_max_length_beyond_the_window(tiny):
    with pytest.raises(
        EngineError, match=f"max_length is 2000, and the model's context window is {tiny.context_window}"
    ):
        EngineLM(tiny, max_length=2000)


def instances(kind, *arguments):
    return [Instance(kind, {}, each, 0) for each in arguments]


def test_texts_without_context_and_texts_too_long(tiny, peer):
    pairs = [("", "a colour"), ("", "<|im_start|>a"), ("a ", "b"), ("word " * 900, "end"), ("<|im_start|>x", "y")]
    for ours, theirs in zip(
        EngineLM(tiny).loglikelihood(instances("loglikelihood", *pairs), disable_tqdm=True),
        peer.loglikelihood(instances("loglikelihood", *pairs), disable_tqdm=True),
        strict=True,
    ):
        assert ours[0] == pytest.approx(theirs[0], abs=1e-4)
        assert ours[1] == theirs[1]


@pytest.mark.parametrize("max_length", [None, 64])
def test_long_texts_in_windows(tiny, tiny_model, max_length):
    from lm_eval.models.huggingface import HFLM

    peer = HFLM(pretrained=tiny.model, tokenizer=tiny.tokenizer, batch_size=1, max_length=max_length)
    requests = instances("loglikelihood_rolling", ("some words and more " * 150,), ("short",), ("other words " * 40,))
    ours, theirs = (model.loglikelihood_rolling(requests) for model in (EngineLM(tiny, max_length=max_length), peer))
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_windows_of_all_texts_are_scored_in_one_call(tiny, monkeypatch):
    calls = []
    score = tiny.loglikelihoods
    monkeypatch.setattr(tiny, "loglikelihoods", lambda requests: calls.append(len(requests)) or score(requests))
    EngineLM(tiny, max_length=16).loglikelihood_rolling(instances("loglikelihood_rolling", (LONG[:200],), ("c d",)))
    assert len(calls) == 1
    assert calls[0] > 3


def test_prompts_too_long_for_their_answers(tiny, peer, caplog):
    model = EngineLM(tiny)
    ending = {"until": ["\n"], "max_gen_toks": 5}
    requests = instances(
        "generate_until", (LONG, ending), ("short", ending), (LONG + "x", {**ending, "max_gen_toks": 9})
    )
    lengths = [len(tiny.tokenizer(request.args[0])["input_ids"]) for request in requests]
    expected = peer.generate_until(requests)
    with caplog.at_level("WARNING", logger="whether"):
        assert model.generate_until(requests) == expected
    cut = lengths[0] - (1024 - 5) + lengths[2] - (1024 - 9)
    (record,) = [each for each in caplog.records if each.name.startswith("whether")]
    assert (
        f"2 of 3 requests are longer than the context window of 1024 tokens: their beginnings are cut off, {cut}"
        in (record.message)
    )
    assert (model.truncation.requests, model.truncation.tokens) == (2, cut)
    model.generate_until(requests[:1])
    assert model.truncation.requests == 3
    assert model.get_model_info()["truncated_requests"] == 3


def test_truncation_can_be_refused(tiny):
    model = EngineLM(tiny, truncation="error")
    with pytest.raises(
        EngineError, match=r"request 1 has \d+ tokens of context.*room for 1019 in.*1024.*truncation to left"
    ):
        model.generate_until(instances("generate_until", ("a", {"max_gen_toks": 5}), (LONG, {"max_gen_toks": 5})))
    with pytest.raises(EngineError, match="request 0 has"):
        model.loglikelihood(instances("loglikelihood", (LONG, "end")), disable_tqdm=True)
    assert model.truncation.requests == 0


def test_continuation_longer_than_the_window(tiny):
    with pytest.raises(EngineError, match=r"request 0 has a continuation of \d+ tokens, which leaves no room"):
        EngineLM(tiny).loglikelihood(instances("loglikelihood", ("a", " word" * 2000)), disable_tqdm=True)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"do_sample": True, "temperature": 0.7, "min_p": 0.1}, "min_p"),
        ({"num_beams": 4}, "num_beams"),
        ({"max_gen_toks": 5000}, "max_gen_toks is 5000"),
    ],
)
def test_settings_that_cannot_be_honoured(tiny, settings, reason):
    with pytest.raises(EngineError, match=reason):
        EngineLM(tiny).generate_until(instances("generate_until", ("a", {"until": ["\n"], **settings})))


def test_sampling_settings_are_the_engine_s(tiny):
    settings = {"until": ["\n"], "max_gen_toks": 6, "temperature": 0.9, "top_k": 20, "seed": 3}
    contexts = ["one", "two", "one", "one"]
    texts = EngineLM(tiny).generate_until(instances("generate_until", *((text, settings) for text in contexts)))
    prompts = [tiny.tokenizer.encode(text) for text in ("one", "two")]
    sampling = Sampling(temperature=0.9, top_k=20, seed=3, samples=3)
    one, two = tiny.generate_tokens(prompts, Decoding(6, stop=["\n", "<|im_end|>"], sampling=sampling))
    assert texts == [one[0].text, two[0].text, one[1].text, one[2].text]
    assert len({answer.text for answer in one}) > 1


def test_chat_template_that_refuses(tiny, monkeypatch):
    monkeypatch.setattr(tiny.tokenizer, "chat_template", "{{ raise_exception('no system role') }}")
    with pytest.raises(EngineError, match="roles \\['system'\\]: no system role"):
        EngineLM(tiny).apply_chat_template([{"role": "system", "content": "x"}])
