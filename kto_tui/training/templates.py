"""How a conversation becomes text: chat templates by name or from a file, for models without one.

Each named template is written as it is commonly known, with two additions. Where the mark that ends a turn
is not the tokenizer's end token, the end token follows each answer: generation stops at it alone, so a model
that never saw it there would not know how to end. And where the tokenizer begins every text with a token of
its own, so does the template, since what it makes is tokenized without.

Marks such as <|im_start|> are one token each only where the vocabulary has them. In any other they are
spelled out in several, which a model learns too, if more slowly: adapters train no new embeddings.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from jinja2.exceptions import TemplateError, TemplateSyntaxError
from transformers import PreTrainedTokenizerBase

from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.core.templates import NAMES

logger = logging.getLogger(__name__)

_LARGEST = 1 << 20
_QUESTION, _ANSWER = "Is this a question?", "This is the answer."
_BEGIN = "{{ bos_token }}"
_NO_TOOLS = "{% if tools %}{{ raise_exception('it has no place for tools') }}{% endif %}"
_EACH = "{% for message in messages %}"
_END = "{% if message['role'] == 'assistant' and eos_token and eos_token != MARK %}{{ eos_token }}{% endif %}"
# The instructions of a system message, before the first question: for models that know no such role.
_FOLDED = (
    "{% set system = '' %}"
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
)
_QUESTIONER = "(system if loop.first else '') + message['content']"
_ONLY_TWO = (
    "{% else %}{{ raise_exception('it knows the roles user and assistant, and no ' + message['role']) }}"
)


@dataclass(frozen=True)
class Template:
    """A named template, and the marks that it takes for single tokens."""

    text: str
    marks: tuple[str, ...] = ()


def _turns(head: str, mark: str, prompt: str) -> str:
    """Every turn as its role and its content between marks; `head` is an expression, as `prompt` is text."""
    return (
        f"{_NO_TOOLS}{_EACH}"
        f"{{{{ {head} + message['content'] + '{mark}' }}}}"
        f"{_END.replace('MARK', repr(mark))}"
        "{{ '\n' }}{% endfor %}"
        f"{{% if add_generation_prompt %}}{{{{ '{prompt}' }}}}{{% endif %}}"
    )


TEMPLATES = {
    "alpaca": Template(
        _NO_TOOLS + "{% set system = 'Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.' %}"
        "{% if messages and messages[0]['role'] == 'system' %}"
        "{% set system = messages[0]['content'] %}{% set messages = messages[1:] %}{% endif %}"
        "{{ system + '\n\n' }}" + _EACH + "{% if message['role'] == 'user' %}"
        "{{ '### Instruction:\n' + message['content'] + '\n\n### Response:\n' }}"
        "{% elif message['role'] == 'assistant' %}"
        "{{ message['content'] + (eos_token or '') }}{% if not loop.last %}{{ '\n\n' }}{% endif %}"
        + _ONLY_TWO
        + "{% endif %}{% endfor %}"
    ),
    "chatml": Template(
        _turns("'<|im_start|>' + message['role'] + '\n'", "<|im_end|>", "<|im_start|>assistant\n"),
        ("<|im_start|>", "<|im_end|>"),
    ),
    "gemma": Template(
        _BEGIN + _NO_TOOLS + _FOLDED + _EACH + "{% if message['role'] == 'user' %}"
        "{{ '<start_of_turn>user\n' + " + _QUESTIONER + " + '<end_of_turn>\n' }}"
        "{% elif message['role'] == 'assistant' %}"
        "{{ '<start_of_turn>model\n' + message['content'] + '<end_of_turn>' }}"
        + _END.replace("MARK", "'<end_of_turn>'")
        + "{{ '\n' }}"
        + _ONLY_TWO
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        ("<start_of_turn>", "<end_of_turn>"),
    ),
    "llama3": Template(
        _BEGIN
        + _NO_TOOLS
        + _EACH
        + "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
        + "{{ message['content'] | trim + '<|eot_id|>' }}"
        + _END.replace("MARK", "'<|eot_id|>'")
        + "{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "mistral": Template(
        _BEGIN + _NO_TOOLS + _FOLDED + _EACH + "{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + " + _QUESTIONER + " + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + (eos_token or '') }}"
        + _ONLY_TWO
        + "{% endif %}{% endfor %}"
    ),
    "phi3": Template(
        _turns("'<|' + message['role'] + '|>\n'", "<|end|>", "<|assistant|>\n"),
        ("<|user|>", "<|assistant|>", "<|end|>"),
    ),
    "zephyr": Template(
        f"{_NO_TOOLS}{_EACH}"
        "{{ '<|' + message['role'] + '|>\n' + message['content'] + (eos_token or '') + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    ),
}

assert tuple(TEMPLATES) == NAMES


def apply_template(tokenizer: PreTrainedTokenizerBase, chosen: str) -> None:
    """Give the tokenizer the template of that name, or of that file, even if it has one.

    Raises UserError for an unknown name, a file that cannot be read, and a template that does not work.
    """
    text, marks = _find(chosen, tokenizer)
    had = tokenizer.chat_template
    tokenizer.chat_template = text
    _try_out(tokenizer, chosen)
    if had and had != text:
        logger.warning("--chat-template %s: used in place of the tokenizer's own", printable(chosen))
    spelled = [mark for mark in marks if mark not in tokenizer.get_vocab()]
    if spelled:
        logger.warning(
            "--chat-template %s: the vocabulary has no %s: several tokens each time",
            printable(chosen),
            ", ".join(spelled),
        )


def _find(chosen: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, tuple[str, ...]]:
    """The text of the template, and the marks that it takes for single tokens. Raises UserError."""
    named = TEMPLATES.get(chosen)
    if named is None:
        return _read(Path(os.path.expanduser(chosen)), chosen), ()
    begins = "bos_token" not in named.text and _begins_texts(tokenizer)
    return (_BEGIN if begins else "") + named.text, named.marks


def _begins_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it puts its beginning token before every text."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def _read(path: Path, chosen: str) -> str:
    name = printable(chosen)
    try:
        if path.is_dir():
            raise UserError(f"--chat-template {name} is a folder; expected a Jinja file")
        if path.stat().st_size > _LARGEST:
            raise UserError(f"--chat-template {name}: larger than 1 MiB; expected a Jinja file")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"--chat-template {name}: not UTF-8 text; expected a Jinja file") from None
    except FileNotFoundError:
        raise UserError(
            f"--chat-template {name}: no such file, and no such template; known ones: {', '.join(NAMES)}"
        ) from None
    except OSError as error:
        raise UserError(f"--chat-template {name}: cannot be read; {error.strerror}") from None


def _try_out(tokenizer: PreTrainedTokenizerBase, chosen: str) -> None:
    """Render a short conversation. Raises UserError where that fails, or leaves out what was said."""
    name = printable(chosen)
    prompt = [{"role": "user", "content": _QUESTION}]
    try:
        asked = _rendered(tokenizer, prompt, add_generation_prompt=True)
        whole = _rendered(tokenizer, [*prompt, {"role": "assistant", "content": _ANSWER}])
    except TemplateSyntaxError as error:
        said = printable(str(error.message))[:200]
        raise UserError(f"--chat-template {name}, line {error.lineno}: {said}") from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        said = printable(one_line(error))[:200]
        raise UserError(f"--chat-template {name}: fails on a question and its answer; {said}") from None
    for text in (_QUESTION, _ANSWER):
        if text not in whole:
            raise UserError(f'--chat-template {name}: leaves out "{text}" of a question and its answer')
    if not whole.startswith(asked):
        logger.warning(
            "--chat-template %s: what it makes of a question does not begin what it makes of question and "
            "answer; where they part, the answer is taken to begin",
            name,
        )
    _warn_without_end(tokenizer, whole.partition(_ANSWER)[2], name)


def _warn_without_end(tokenizer: PreTrainedTokenizerBase, rest: str, name: str) -> None:
    if tokenizer.eos_token and tokenizer.eos_token not in rest:
        logger.warning(
            "--chat-template %s: no %s follows an answer, so the model does not learn to stop there",
            name,
            tokenizer.eos_token,
        )


def _rendered(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], *, add_generation_prompt: bool = False
) -> str:
    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=add_generation_prompt
    )
    assert isinstance(text, str)
    return text
