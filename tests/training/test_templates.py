"""Chat templates by name and from files: what they write, what becomes of them, what is refused."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from kto_tui.core.errors import UserError
from kto_tui.data import Row
from kto_tui.training.dataset import tokenize_row
from kto_tui.training.templates import TEMPLATES, apply_template
from kto_tui.training.tiny import build_tokenizer
from tests.architectures.families import FAMILIES, save
from tests.real_worker.harness import sit, tiny

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Who?"},
]
MARKS = {
    "llama3": "<|eot_id|>",
    "chatml": "<|im_end|>",
    "gemma": "<end_of_turn>",
    "phi3": "<|end|>",
}
WRITTEN = {
    "alpaca": (
        "<s>Be brief.\n\n### Instruction:\nHello?\n\n### Response:\nYes.{end}\n\n"
        "### Instruction:\nWho?\n\n### Response:\n"
    ),
    "chatml": (
        "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    ),
    "gemma": (
        "<s><start_of_turn>user\nBe brief.\n\nHello?<end_of_turn>\n<start_of_turn>model\nYes.<end_of_turn>\n"
        "<start_of_turn>user\nWho?<end_of_turn>\n<start_of_turn>model\n"
    ),
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWho?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral": "<s>[INST] Be brief.\n\nHello? [/INST] Yes.{end}[INST] Who? [/INST]",
    "phi3": (
        "<s><|system|>\nBe brief.<|end|>\n<|user|>\nHello?<|end|>\n<|assistant|>\nYes.<|end|>\n"
        "<|user|>\nWho?<|end|>\n<|assistant|>\n"
    ),
    "zephyr": (
        "<s><|system|>\nBe brief.{end}\n<|user|>\nHello?{end}\n<|assistant|>\nYes.{end}\n"
        "<|user|>\nWho?{end}\n<|assistant|>\n"
    ),
}


def tokenizer(end: str | None = "</s>", *, begins: bool = True) -> PreTrainedTokenizerFast:
    """Of letters; it begins every text with <s>, if asked."""
    letters = {letter: n for n, letter in enumerate(["<s>", end or "</s>", "?", *map(chr, range(33, 62))])}
    inner = Tokenizer(models.WordLevel(letters, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if begins:
        inner.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    made: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, bos_token="<s>", eos_token=end, unk_token="?"
    )
    return made


def render(made: Any, messages: list[dict[str, str]], *, prompt: bool) -> str:
    return str(made.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_the_named_ones_write(name: str) -> None:
    """As their models' makers write it, for tokenizers whose end token is the one that ends a turn."""
    end = MARKS.get(name, "</s>")
    made = tokenizer(end)
    apply_template(made, name)
    assert render(made, TALK, prompt=True) == WRITTEN[name].replace("{end}", end)


@pytest.mark.parametrize("name", MARKS)
def test_an_answer_ends_with_the_tokenizers_own_end(name: str) -> None:
    made = tokenizer("</s>")
    apply_template(made, name)
    assert f"Yes.{MARKS[name]}</s>" in render(made, TALK, prompt=False)
    assert render(made, TALK, prompt=False).count("</s>") == 1


def test_nothing_is_begun_by_a_tokenizer_that_begins_nothing() -> None:
    made = tokenizer(begins=False)
    apply_template(made, "chatml")
    assert render(made, TALK, prompt=True).startswith("<|im_start|>system")


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_prompt_begins_the_whole(name: str) -> None:
    made = build_tokenizer()
    apply_template(made, name)
    row = Row(TALK[1:2], TALK[2:3], True, "row 1")
    _, answer, shifted = tokenize_row(row, made)
    assert not shifted
    assert str(made.decode(answer)).lstrip().startswith("Yes.")
    assert made.eos_token_id in answer


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_has_no_place_is_refused(name: str) -> None:
    made = tokenizer()
    apply_template(made, name)
    with pytest.raises(TemplateError, match="it has no place for tools"):
        made.apply_chat_template(TALK, tools=[{"name": "f"}], tokenize=False)
    if name in ("alpaca", "gemma", "mistral"):
        with pytest.raises(TemplateError, match="it knows the roles user and assistant, and no tool"):
            made.apply_chat_template([*TALK, {"role": "tool", "content": "5"}], tokenize=False)


def test_a_files_template_is_used_and_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mine.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    made = build_tokenizer()
    with caplog.at_level(logging.WARNING):
        apply_template(made, str(tmp_path / "mine.jinja"))
    assert [r.getMessage() for r in caplog.records] == [
        f"--chat-template {tmp_path / 'mine.jinja'}: used in place of the tokenizer's own"
    ]
    made.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert render(again, TALK[1:2], prompt=True) == "user: Hello?<|end|>assistant:"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% for m in messages %}\n{{ m.content }\n", "line 2: unexpected '}'"),
        ("{{ nothing.there }}", "fails on a question and its answer; UndefinedError"),
        ("{{ raise_exception('no') }}", "fails on a question and its answer; TemplateError: no"),
        ("{{ messages[0].content }}", 'leaves out "This is the answer."'),
        ("", 'leaves out "Is this a question?"'),
        ("{{ messages[7].content }}", "fails on a question and its answer"),
        (b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_files_that_are_refused(text: str | bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as raised:
        apply_template(build_tokenizer(), str(path))
    assert str(raised.value).startswith(f"--chat-template {path}")
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_names_that_are_refused(tmp_path: Path) -> None:
    known = "alpaca, chatml, gemma, llama3, mistral, phi3, zephyr"
    expected = f"--chat-template chatnl: no such file, and no such template; known ones: {known}"
    with pytest.raises(UserError, match=expected):
        apply_template(build_tokenizer(), "chatnl")
    with pytest.raises(UserError, match="is a folder; expected a Jinja file"):
        apply_template(build_tokenizer(), str(tmp_path))


def test_it_is_told_what_a_model_will_not_learn_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = build_tokenizer()
    made.chat_template = None
    (tmp_path / "endless.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    with caplog.at_level(logging.WARNING):
        apply_template(made, "chatml")
        made.chat_template = None
        apply_template(made, str(tmp_path / "endless.jinja"))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "--chat-template chatml: the vocabulary has no <|im_start|>, <|im_end|>: several tokens each time",
        f"--chat-template {tmp_path / 'endless.jinja'}: no <|end|> follows an answer, so the model does not "
        "learn to stop there",
    ]


def test_a_run_trains_with_it_and_keeps_it(tmp_path: Path) -> None:
    made = build_tokenizer()
    made.chat_template = None
    save(tmp_path / "model", FAMILIES["llama"](), made)
    rows = [
        {
            "prompt": [{"role": "user", "content": f"{n}?"}],
            "completion": [{"role": "assistant", "content": "So."}],
            "label": n % 2 == 0,
        }
        for n in range(6)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = tiny(tmp_path, model=str(tmp_path / "model"), max_steps=1, chat_template="chatml")
    sitting = sit(config)
    assert sitting.exit_code == 0
    kept = AutoTokenizer.from_pretrained(sitting.output / "final_model")
    assert kept.chat_template == TEMPLATES["chatml"].text
