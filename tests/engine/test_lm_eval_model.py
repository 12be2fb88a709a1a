"""lm-eval's results with our engine equal those of its own `hf` backend, document by document."""

import json

import pytest
from lm_eval.api.instance import Instance

from whether.engine.lm_eval_model import EngineLM
from whether.errors import EngineError

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


def responses(model, folder, chat):
    import lm_eval
    from lm_eval.tasks import TaskManager

    report = lm_eval.simple_evaluate(
        model=model,
        tasks=["colours", "writing", "reading"] if not chat else ["colours", "writing"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        apply_chat_template=chat,
        bootstrap_iters=0,
        log_samples=True,
    )
    return {
        (task, sample["doc_id"]): sample["filtered_resps"]
        for task, samples in report["samples"].items()
        for sample in samples
    }


@pytest.mark.parametrize("chat", [False, True])
def test_tasks_equal_hf(tiny, peer, tasks, chat):
    ours, theirs = responses(EngineLM(tiny), tasks, chat), responses(peer, tasks, chat)
    assert ours.keys() == theirs.keys()
    for key, response in ours.items():
        if key[0] == "colours":
            for (value, greedy), (other, other_greedy) in zip(response, theirs[key], strict=True):
                assert float(value) == pytest.approx(float(other), abs=1e-4)
                assert greedy == other_greedy
        elif key[0] == "reading":
            assert response[0] == pytest.approx(theirs[key][0], abs=1e-3)
        else:
            assert response == theirs[key]


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


def test_long_text_in_windows(tiny, peer):
    requests = instances("loglikelihood_rolling", ("some words and more " * 150,))
    (ours,), (theirs,) = EngineLM(tiny).loglikelihood_rolling(requests), peer.loglikelihood_rolling(requests)
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_prompt_too_long_for_its_answer(tiny, peer):
    requests = instances("generate_until", ("word " * 900, {"until": ["\n"], "max_gen_toks": 5}))
    assert EngineLM(tiny).generate_until(requests) == peer.generate_until(requests)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"do_sample": True, "temperature": 1.0}, "decodes greedily"),
        ({"temperature": 0.7}, "decodes greedily"),
        ({"num_beams": 4}, "num_beams"),
        ({"max_gen_toks": 5000}, "max_gen_toks is 5000"),
    ],
)
def test_settings_that_cannot_be_honoured(tiny, settings, reason):
    with pytest.raises(EngineError, match=reason):
        EngineLM(tiny).generate_until(instances("generate_until", ("a", {"until": ["\n"], **settings})))


def test_chat_template_that_refuses(tiny, monkeypatch):
    monkeypatch.setattr(tiny.tokenizer, "chat_template", "{{ raise_exception('no system role') }}")
    with pytest.raises(EngineError, match="roles \\['system'\\]: no system role"):
        EngineLM(tiny).apply_chat_template([{"role": "system", "content": "x"}])
