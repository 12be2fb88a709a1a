"""llama.cpp's convert_hf_to_gguf.py without a tokenizer: benchmarks ask in token ids.

python llama_convert.py LLAMA_CPP MODEL --outtype f32 --outfile FILE
"""

import sys

sys.path.insert(0, sys.argv.pop(1))

import convert_hf_to_gguf
from conversion.llama import LlamaModel

ALIGNMENT = 64
"""Of tensors in the file, in bytes: what the build expects (llama_cpp.py)."""


def _no_tokenizer(self: LlamaModel) -> None:
    self.gguf_writer.add_custom_alignment(ALIGNMENT)
    self._set_vocab_none()


LlamaModel.set_vocab = _no_tokenizer

if __name__ == "__main__":
    convert_hf_to_gguf.main()
