"""Makes a tiny random Llama with a tokenizer and a chat template, and then one fault.

    python make_model.py <folder> [fault]       `python make_model.py` lists the faults

It needs torch, transformers and tokenizers; nothing is fetched. The model writes nonsense: what counts is whether a
folder with the fault is refused with one clear error, or works.
"""

import json
import shutil
import sys
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}{{ '<|turn|>' + message['role'] + '\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|pad|>", "<|turn|>", "<|end|>"]
TEXT = (
    "the card was charged and the parcel did not come, where is the order, how do I pay, which of these is right " * 20
)
VOCABULARY = 400
SEED = 1
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def tiny(folder, template=TEMPLATE, **changes):
    """Write config.json, model.safetensors, tokenizer files and the template; `changes` go into the config."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[1], eos_token=SPECIAL[2], pad_token=SPECIAL[0]
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    torch.manual_seed(SEED)
    settings = {
        "vocab_size": len(fast),
        **SHAPE,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "bos_token_id": fast.bos_token_id,
        "eos_token_id": fast.eos_token_id,
        "pad_token_id": fast.pad_token_id,
        "initializer_range": 0.2,
        **changes,
    }
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder)
    return folder


def edit(file, change):
    """Change a JSON file in its place."""
    values = json.loads(file.read_text(encoding="utf-8"))
    change(values)
    file.write_text(json.dumps(values, indent=2), encoding="utf-8")


def pointer(file, size):
    """Put a pointer of Git LFS in the place of a file."""
    file.write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'5e' * 32}\nsize {size}\n", encoding="utf-8"
    )


def shards(folder, keep):
    """Split the weights into two files with an index, and keep only some of them."""
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    half = len(names) // 2
    parts = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
    for file, held in parts.items():
        if file in keep:
            save_file({name: weights[name] for name in held}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").unlink()


def good(folder):
    """No fault."""
    tiny(folder)


def refuses_system(folder):
    """The chat template raises an exception at a system message."""
    tiny(
        folder,
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('This model has no system role') }}{% endif %}"
        + TEMPLATE,
    )


def refuses_system_where_roles_alternate(folder):
    """The chat template wants user and assistant in turn, and raises an exception at anything else."""
    check = (
        "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles have to alternate: user, assistant, user') }}{% endif %}{% endfor %}"
    )
    tiny(folder, check + TEMPLATE)


def no_template(folder):
    """No chat template."""
    tiny(folder, None)
    (folder / "chat_template.jinja").unlink(missing_ok=True)


def larger_vocabulary(folder):
    """The tokenizer knows more tokens than the model has embeddings."""
    tiny(folder, vocab_size=300)


def pointer_for_weights(folder):
    """A pointer of Git LFS in place of the weights."""
    tiny(folder)
    pointer(folder / "model.safetensors", 269060552)


def cut_weights(folder):
    """The weights end in the middle, as a copy that was broken off."""
    tiny(folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def no_end_token(folder):
    """Neither the tokenizer nor the configs say what ends an answer."""
    tiny(folder, eos_token_id=None)
    edit(folder / "tokenizer_config.json", lambda values: values.pop("eos_token", None))
    for name in ("config.json", "generation_config.json"):
        edit(folder / name, lambda values: values.pop("eos_token_id", None))
    if (folder / "special_tokens_map.json").exists():
        edit(folder / "special_tokens_map.json", lambda values: values.pop("eos_token", None))


def remote_code(folder):
    """config.json wants code of the repository to be run; the code would leave a file RAN beside itself."""
    tiny(folder)
    code = "from pathlib import Path\nPath(__file__).with_name('RAN').touch()\nraise RuntimeError('it was run')\n"
    (folder / "modeling_own.py").write_text(code, encoding="utf-8")

    def change(values):
        values["model_type"] = "own-kind"
        values["auto_map"] = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}

    edit(folder / "config.json", change)


def missing_shard(folder):
    """Two files of weights by the index; the second is not there."""
    tiny(folder)
    shards(folder, ["model-00001-of-00002.safetensors"])


def pickle_only(folder):
    """The weights are a pickle."""
    tiny(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def adapter_folder(folder):
    """An adapter was given in place of a model."""
    tiny(folder)
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "config.json").rename(folder / "adapter_config.json")
    edit(
        folder / "adapter_config.json",
        lambda values: (values.clear(), values.update(peft_type="LORA", r=8, base_model_name_or_path="some/base")),
    )


def last_turn_only(folder):
    """The chat template writes the last message alone, so that the instruction is lost without a word."""
    tiny(folder, TEMPLATE.replace("{% for message in messages %}", "{% for message in messages[-1:] %}"))


def template_of_another_engine(folder):
    """The chat template uses a filter that Jinja does not have."""
    tiny(folder, TEMPLATE.replace("message['content']", "(message['content'] | no_such_filter)"))


def infinite_weights(folder):
    """Some numbers of the weights are infinite, as a conversion to half precision leaves them."""
    tiny(folder)
    import numpy
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = sorted(name for name in weights if "q_proj" in name)[0]
    weights[name] = numpy.full_like(weights[name], numpy.inf)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


FAULTS = [
    good,
    refuses_system,
    refuses_system_where_roles_alternate,
    no_template,
    larger_vocabulary,
    pointer_for_weights,
    cut_weights,
    no_end_token,
    remote_code,
    missing_shard,
    pickle_only,
    adapter_folder,
    last_turn_only,
    template_of_another_engine,
    infinite_weights,
]


def main():
    known = {fault.__name__: fault for fault in FAULTS}
    if len(sys.argv) < 2 or (sys.argv[2:] and sys.argv[2] not in known):
        for name, fault in known.items():
            print(f"{name:40}{fault.__doc__}")
        sys.exit(len(sys.argv) > 1)
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    known[sys.argv[2] if sys.argv[2:] else "good"](folder)


if __name__ == "__main__":
    main()
