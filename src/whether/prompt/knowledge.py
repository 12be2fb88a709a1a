"""A folder of documents, cut into passages and ranked by nearness to a query."""

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from whether.errors import ConfigError
from whether.prompt.similarity import Similarity, build_index

SUFFIXES = (".md", ".txt")


class Passage(NamedTuple):
    """A piece of a document."""

    document: str
    """The file's path in the folder."""
    text: str


class Knowledge:
    """Passages of the documents below `folder`, `count` of which are found for a query."""

    def __init__(self, folder: Path, words: int, by: Similarity, count: int):
        """Read and index. Raises ConfigError for a folder without documents or a file that is not UTF-8."""
        files = sorted(file for file in folder.glob("**/*") if file.suffix in SUFFIXES and file.is_file())
        self._passages = [
            Passage(file.relative_to(folder).as_posix(), text) for file in files for text in chunk(_read(file), words)
        ]
        if not self._passages:
            raise ConfigError(f"knowledge folder {folder} holds no text in {' or '.join(SUFFIXES)} files")
        rank = build_index(by, [passage.text for passage in self._passages])
        self._find = lru_cache(maxsize=4096)(lambda query: [self._passages[number] for number in rank(query)[:count]])

    def find(self, query: str) -> list[Passage]:
        """Return the nearest passages, the nearest first."""
        return self._find(query)


def chunk(text: str, words: int) -> list[str]:
    """Return a text in passages of about `words` words: whole paragraphs, where a paragraph is not longer than that."""
    passages: list[str] = []
    current: list[str] = []
    for paragraph in filter(None, map(str.strip, re.split(r"\n\s*\n", text))):
        pieces = paragraph.split()
        if len(pieces) > words:
            parts = [" ".join(pieces[start : start + words]) for start in range(0, len(pieces), words)]
        else:
            parts = [paragraph]
        for part in parts:
            if current and sum(len(kept.split()) for kept in current) + len(part.split()) > words:
                passages.append("\n\n".join(current))
                current = []
            current.append(part)
    return [*passages, "\n\n".join(current)] if current else passages


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"document {file} is not UTF-8: convert it, or take it out of the folder") from None
