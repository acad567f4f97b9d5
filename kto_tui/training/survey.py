"""`python -m kto_tui.training.survey`: check-data's token figures, by the model's tokenizer and no weights.

Reads a request from stdin, and writes progress and the outcome to stdout, a line of JSON each
(kto_tui/data/survey/talk.py). A process of its own, since the command line never loads transformers.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from kto_tui.core.config import TINY_MODEL, RunConfig
from kto_tui.core.errors import UserError, one_line
from kto_tui.data import Row
from kto_tui.data.survey.checking import check
from kto_tui.data.survey.reading import Lengths
from kto_tui.data.survey.talk import Doing, Done, Refused, decode_request, encode
from kto_tui.models.chain import follow
from kto_tui.models.check import check_on_hub, out_of_reach
from kto_tui.models.folder import check_folder, gguf_file, has_tokenizer
from kto_tui.models.hub import SMALL_FILES, HubUnreachableError, explained
from kto_tui.models.packages import PACKAGES
from kto_tui.training.dataset import tokenize_rows
from kto_tui.training.left_out import left_out
from kto_tui.training.templates import apply_template
from kto_tui.training.tiny import build_tokenizer
from kto_tui.training.tokenizer import ensure_pad_token, load_tokenizer

_EVERY_SECONDS = 0.2


def main() -> int:
    """Answer one request. Returns the exit code: whatever was wrong was said in the answer."""
    answers = _own_stdout()
    try:
        return _answer(answers)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # Whoever asked is gone.
        return 1


def _own_stdout() -> BinaryIO:
    """The answers' way out, kept from libraries that print: what they say goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _answer(answers: BinaryIO) -> int:
    line = sys.stdin.buffer.readline()
    if not line:  # Whoever was about to ask is gone.
        return 1
    request = decode_request(line)

    def say(what: str, rows: int = 0) -> None:
        answers.write(encode(Doing(what=what, rows=rows)))

    try:
        say("loading the tokenizer")
        tokenizer = _tokenizer_of(request.config)
        fix = Path(request.fix) if request.fix is not None else None
        on_rows = _now_and_then(lambda rows: say("tokenizing", rows))
        checked = check(
            request.config,
            on_rows,
            fix=fix,
            measure=partial(_measured, tokenizer=tokenizer),
            special_tokens={*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()},
            look=partial(left_out, tokenizer=tokenizer),
        )
    except UserError as error:
        answers.write(encode(Refused(message=str(error))))
        return 0
    answers.write(encode(Done(checked=checked)))
    return 0


def _now_and_then(say: Callable[[int], None]) -> Callable[[int], None]:
    said = 0.0

    def on_rows(rows: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _EVERY_SECONDS:
            said = time.monotonic()
            say(rows)

    return on_rows


def _tokenizer_of(config: RunConfig) -> PreTrainedTokenizerBase:
    """The tokenizer that training would use. Raises UserError."""
    try:
        return _find_tokenizer(config)
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"--model {config.model}: no tokenizer can be loaded; {one_line(error)[:300]}"
        ) from error


def _measured(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[Lengths]:
    """Tokens of prompt and answer of each row, as training will count them. Raises UserError."""
    return [(len(prompt), len(answer)) for prompt, answer, _ in tokenize_rows(rows, tokenizer)]


def _find_tokenizer(config: RunConfig) -> PreTrainedTokenizerBase:
    """The tokenizer that training would use, from wherever it lies. Raises UserError, and as loading does."""
    assert config.model is not None
    chain = follow(config.model, config.model_revision)
    for adapter in chain.adapters:
        if has_tokenizer(adapter):
            return load_tokenizer(config, adapter)
    if chain.name == TINY_MODEL and chain.path is None:
        return _with_template(build_tokenizer(), config)
    if (path := chain.path) is None:
        return _from_hub(msgspec.structs.replace(config, model=chain.name, model_revision=chain.revision))
    check_folder(path)
    return _from_gguf(gguf, config) if (gguf := gguf_file(path)) else load_tokenizer(config, path)


def _from_hub(config: RunConfig) -> PreTrainedTokenizerBase:
    """The small files alone, from the cache or the hub; else the GGUF file of a package."""
    model, revision = str(config.model), config.model_revision
    try:
        return load_tokenizer(
            config, Path(snapshot_download(model, revision=revision, local_files_only=True))
        )
    except (OSError, ValueError):  # Not in the cache, or only a part that is no tokenizer.
        pass
    try:
        check_on_hub(model, revision)
        found = snapshot_download(model, revision=revision, allow_patterns=[*SMALL_FILES])
        return load_tokenizer(config, Path(found))
    except HubUnreachableError as reason:
        gguf = PACKAGES[model].path() if model in PACKAGES and not revision else None
        if gguf is None:
            raise out_of_reach(model, reason, revision) from None
        return _from_gguf(gguf, config)
    except HTTPError as error:
        raise explained(error, model, "model") from error


def _from_gguf(gguf: Path, config: RunConfig) -> PreTrainedTokenizerBase:
    return _with_template(AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name), config)


def _with_template(tokenizer: PreTrainedTokenizerBase, config: RunConfig) -> PreTrainedTokenizerBase:
    ensure_pad_token(tokenizer)
    if config.chat_template is not None:
        apply_template(tokenizer, config.chat_template)
    return tokenizer


if __name__ == "__main__":
    sys.exit(main())
