"""The base and the tuned model, which are one model with its adapter off and on, answering."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.training.after.base import saved_tokenizer
from kto_tui.training.after.turns import Turns
from kto_tui.training.loading import ADAPTER, attached
from kto_tui.training.model import load_base
from kto_tui.training.reference_adapter import TWIN
from kto_tui.training.sources import Report
from kto_tui.training.tokenizer import ensure_pad_token

BASE, TUNED = "base", "tuned"
_TORN = "\ufffd"  # What a character decodes to before its last byte is there.

Message = Mapping[str, Any]
Say = Callable[[str, str], None]


class Talker:
    """Both models in one place. Raises UserError where they cannot be loaded.

    `temperature` 0: always the likeliest token.
    """

    def __init__(
        self, config: RunConfig, adapter: Path, report: Report, *, tokens: int, temperature: float
    ) -> None:
        loaded = load_base(config, report, for_adapter=adapter)
        report(0, 0, "attaching the adapter")
        model = attached(f"{printable(str(adapter))}: the adapter", loaded.model, adapter)
        self._base: str | None = None
        if loaded.adapter:
            model.load_adapter(str(loaded.adapter), TWIN)
            model.set_adapter(ADAPTER, inference_mode=True)
            self._base = TWIN
        where = saved_tokenizer(adapter, loaded.source.folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            what = f"{printable(str(where))}: the tokenizer does not load"
            raise UserError(f"{what}; {one_line(error)[:300]}") from error
        ensure_pad_token(tokenizer)
        self._adapted: Any = model
        self._model: Any = model.get_base_model()
        self._tokenizer: PreTrainedTokenizerBase = tokenizer
        self._tokens = tokens
        self._model.generation_config = _generation(self._model, tokenizer, tokens, temperature)
        self.quantization, self.dtype = loaded.quantization, loaded.dtype
        self.device = str(loaded.model.device)

    @property
    def has_template(self) -> bool:
        """Whether turns are put into a chat template; else they are given as plain text."""
        return bool(getattr(self._tokenizer, "chat_template", None))

    def answer(
        self,
        turns: Mapping[str, Sequence[Message]],
        say: Say,
        stopped: threading.Event,
        *,
        together: bool,
        over: Callable[[str], None] = lambda _: None,
    ) -> dict[str, str]:
        """Why each answer ended: end, length or stopped. `turns`: what was said so far to each of the two.

        `say(name, text)` hears what is added to an answer, and `over(name)` when it has ended. `together`:
        both grow a token at a time by turns, else one after the other. Raises UserError where there is no
        room for an answer.
        """
        prompts = {name: self._encoded(messages) for name, messages in turns.items()}
        ended: dict[str, str] = {}
        if not together:
            for name in prompts:
                ended[name] = self._one(name, prompts[name], say, stopped, Turns([name], self._be))
                over(name)
            return ended
        errors: list[BaseException] = []
        order = Turns(list(prompts), self._be)

        def grow(name: str) -> None:
            try:
                ended[name] = self._one(name, prompts[name], say, stopped, order)
                over(name)
            except Exception as error:  # noqa: BLE001  Raised again where it can be caught.
                errors.append(error)

        threads = [threading.Thread(target=grow, args=(name,), daemon=True) for name in prompts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return {name: ended[name] for name in prompts}

    def _one(self, name: str, prompt: Tensor, say: Say, stopped: threading.Event, order: Turns) -> str:
        order.begin(name)
        spoken = _Spoken(self._tokenizer, lambda text: say(name, text), lambda: order.pass_on(name))
        stop = StoppingCriteriaList([_Stop(stopped)])
        try:
            self._model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                streamer=spoken,
                stopping_criteria=stop,
            )
        finally:
            order.leave(name)
        if stopped.is_set():
            return "stopped"
        ends = self._model.generation_config.eos_token_id or []
        return "end" if spoken.last in ends else "length"

    def _be(self, name: str) -> None:
        if self._base is not None:
            self._adapted.set_adapter(self._base if name == BASE else ADAPTER, inference_mode=True)
        elif name == BASE:
            self._adapted.base_model.disable_adapter_layers()
        else:
            self._adapted.base_model.enable_adapter_layers()

    def _encoded(self, messages: Sequence[Message]) -> Tensor:
        """(1, tokens) ids of the conversation so far, at whose end an answer begins."""
        if self.has_template:
            try:
                encoded: Any = self._tokenizer.apply_chat_template(
                    [dict(message) for message in messages],
                    add_generation_prompt=True,
                    return_tensors="pt",
                    return_dict=True,
                )
            except (TemplateError, TypeError, ValueError) as error:
                raise UserError(
                    f"the chat template refuses this conversation; {one_line(error)[:300]}"
                ) from error
        else:
            encoded = self._tokenizer("\n".join(str(m["content"]) for m in messages), return_tensors="pt")
        ids = encoded["input_ids"]
        assert isinstance(ids, Tensor)
        if not self.has_template and ids.shape[1] > 1 and int(ids[0, -1]) == self._tokenizer.eos_token_id:
            ids = ids[:, :-1]  # Some tokenizers end every text: nothing goes on after that.
        room = getattr(self._model.config, "max_position_embeddings", None)
        if room is not None and ids.shape[1] + self._tokens > room:
            raise UserError(
                f"the conversation has {ids.shape[1]} tokens, and the model holds {room} with the answer's "
                f"{self._tokens}; begin anew (/reset), or lower --max-new-tokens"
            )
        if not ids.shape[1]:
            raise UserError("there is nothing to answer: the text has no token")
        return ids.to(self._model.device)


def _generation(
    model: Any, tokenizer: PreTrainedTokenizerBase, tokens: int, temperature: float
) -> GenerationConfig:
    """All settings: what a model's own would add is left out, so that both are seen as they are."""
    own = model.generation_config.eos_token_id
    ends = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id} - {None}
    sampled = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {}
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=tokens,
        eos_token_id=sorted(ends) or None,
        pad_token_id=tokenizer.pad_token_id,
        **{"do_sample": False, **sampled},
    )


class _Spoken(BaseStreamer):
    """Tells an answer's text as it grows, in whole characters; `between` is called after each token."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, say: Callable[[str], None], between: Callable[[], None]
    ) -> None:
        self._tokenizer = tokenizer
        self._say = say
        self._between = between
        self._ids: list[int] | None = None
        self._told = 0
        self.last: int | None = None

    def put(self, value: Tensor) -> None:
        if self._ids is None:  # The prompt.
            self._ids = []
            return
        self.last = int(value.reshape(-1)[-1])
        self._ids.append(self.last)
        self._tell(self._text().rstrip(_TORN))
        self._between()

    def end(self) -> None:
        self._tell(self._text())

    def _text(self) -> str:
        text = self._tokenizer.decode(
            self._ids or [], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)
        return text

    def _tell(self, text: str) -> None:
        if len(text) > self._told:
            self._say(text[self._told :])
            self._told = len(text)


class _Stop(StoppingCriteria):
    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        return torch.full((input_ids.shape[0],), self._stopped.is_set(), device=input_ids.device)
