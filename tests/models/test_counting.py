"""Lengths of rows by the model's own tokenizer, before anything heavy is loaded."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from kto_tui.cli.planning import lengths_of
from kto_tui.core.config import TINY_MODEL, RunConfig
from kto_tui.core.counts import Counts
from kto_tui.data import Row
from kto_tui.data.counting import count_rows
from kto_tui.models.counting import tokens_a_byte

ENGLISH = "The quick brown fox jumps over the lazy dog, and then it sleeps in the warm sun all day long. "


def row(prompt: Any, completion: Any, number: int = 1, tools: Any = None) -> Row:
    return Row(prompt, completion, True, f"row {number}", tools)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has no more of a model than a tokenizer of words' parts."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([ENGLISH] * 20, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_tokens_of_the_longest_rows_are_counted(model: Path) -> None:
    counts = count_rows([row(ENGLISH * n, ENGLISH, n) for n in range(1, 40)])
    assert (counts.total, len(counts.longest)) == (39, 16)
    assert {len(sample.prompt) for sample in counts.longest} == {len(ENGLISH) * n for n in range(24, 40)}
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    exact = len(tokenizer.encode(ENGLISH * 40).ids)
    found = lengths_of(counts, RunConfig(model=str(model), max_length=4096))
    assert found.origin == "sampled"
    assert exact <= found.longest <= exact + 60
    assert found.longest < lengths_of(counts, RunConfig(model=TINY_MODEL, max_length=4096)).longest / 2
    assert lengths_of(counts, RunConfig(model=str(model), max_length=64)).longest == 64


def test_rows_of_another_script_take_more_tokens(model: Path) -> None:
    """Of rows of like bytes the ones count that come to more tokens."""
    odd = "".join(chr(0x4E00 + n) for n in range(300))
    counts = count_rows([row(ENGLISH * 8, ENGLISH), row(odd, odd[:10], 2)])
    assert lengths_of(counts, RunConfig(model=str(model), max_length=4096)).longest >= 900


def test_all_that_a_template_writes_is_counted() -> None:
    asked, said = [{"role": "user", "content": "Why?"}], {"role": "assistant", "content": "So."}
    bare = count_rows([row(asked, [said])])
    call = {"type": "function", "function": {"name": "rain", "arguments": {"city": "x" * 100}}}
    for answer in ({**said, "reasoning_content": "x" * 100}, {**said, "tool_calls": [call]}):
        more = count_rows([row(asked, [answer])])
        assert more.longest_bytes >= bare.longest_bytes + 100
        assert more.longest_answer_bytes >= bare.longest_answer_bytes + 100
    tools = [{"type": "function", "function": {"name": "rain", "description": "x" * 100}}]
    more = count_rows([row(asked, [said], tools=tools)])
    assert more.longest_bytes >= bare.longest_bytes + 100
    assert more.longest_answer_bytes == bare.longest_answer_bytes


def test_without_a_tokenizer_at_hand_bytes_have_to_do(tmp_path: Path) -> None:
    counts = count_rows([row(ENGLISH, ENGLISH)])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    for name in ("broken", "missing"):
        assert tokens_a_byte(str(tmp_path / name), None, counts.longest) is None
        assert lengths_of(counts, RunConfig(model=str(tmp_path / name))).origin == "bytes"
    assert lengths_of(Counts(), RunConfig(model=str(tmp_path))).origin == "max_length"


def test_a_tokenizer_that_pads_or_knows_no_such_word(model: Path, tmp_path: Path) -> None:
    """Files keep how they were last used; and some raise for a word that they do not know."""
    counts = count_rows([row(ENGLISH, ENGLISH), row(ENGLISH * 9, ENGLISH, 2)])
    wanted = tokens_a_byte(str(model), None, counts.longest)
    padded = Tokenizer.from_file(str(model / "tokenizer.json"))
    padded.enable_padding(length=512)
    padded.enable_truncation(8)
    (tmp_path / "padded").mkdir()
    padded.save(str(tmp_path / "padded" / "tokenizer.json"))
    assert tokens_a_byte(str(tmp_path / "padded"), None, counts.longest) == wanted
    (tmp_path / "words").mkdir()
    Tokenizer(models.WordLevel({"a": 0}, unk_token="[UNK]")).save(str(tmp_path / "words" / "tokenizer.json"))
    assert tokens_a_byte(str(tmp_path / "words"), None, counts.longest) is None


def test_long_rows_are_sampled_in_part() -> None:
    tools = [{"type": "function", "function": {"name": "rain", "description": "x" * 200_000}}]
    counts = count_rows([row(ENGLISH * 2000, ENGLISH, tools=tools)])
    assert counts.longest_bytes > 300_000
    assert max(len(sample.prompt) for sample in counts.longest) == 1 << 16
