"""The process behind `kto-tui chat`: holds base and tuned model, and answers.

The first line on stdin is the request: `config`, `adapter`, `max_new_tokens`, `temperature`. Once `ready` was
said, each line asks: `turns` (messages so far, by "base" and "tuned") and `together`; told are `piece`s
(`who`, `text`) and who is `over`, then `answered` (`ended`: why, by who) or `unanswered` (`message`).
{"stop": true} cuts an answer short.
"""

import sys
from pathlib import Path
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.training.after.base import settings_in_place
from kto_tui.training.after.pipe import Pipe, serve
from kto_tui.training.environment import prepare_environment


def talk(pipe: Pipe, request: dict[str, Any]) -> None:
    """Load both, and answer until the command is gone. Raises UserError."""
    with settings_in_place(pipe, request["config"]) as config:
        prepare_environment()
        pipe.progress(0, 0, "importing torch")
        import torch

        from kto_tui.training.after.talk import Talker

        try:
            talker = Talker(
                config,
                Path(request["adapter"]),
                pipe.progress,
                tokens=request["max_new_tokens"],
                temperature=request["temperature"],
            )
        except torch.OutOfMemoryError:
            raise UserError(
                "the device's memory is too short for this model; wait for what else runs there, or set "
                "CUDA_VISIBLE_DEVICES= to talk on the CPU"
            ) from None
        pipe.say(
            "ready",
            template=talker.has_template,
            device=talker.device,
            quantization=talker.quantization,
            dtype=talker.dtype,
        )
        while True:
            _answer(pipe, talker, pipe.next())


def _answer(pipe: Pipe, talker: Any, asked: dict[str, Any]) -> None:
    def say(who: str, text: str) -> None:
        pipe.say("piece", who=who, text=text)

    def over(who: str) -> None:
        pipe.say("over", who=who)

    from kto_tui.training.recovery import free_memory, is_out_of_memory

    try:
        ended = talker.answer(asked["turns"], say, pipe.stopped, together=asked["together"], over=over)
    except UserError as error:
        message = str(error)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        message = (
            "the device's memory is too short for this answer; begin anew (/reset), or lower --max-new-tokens"
        )
    else:
        pipe.say("answered", ended=ended)
        return
    free_memory()  # Outside of the handlers, where nothing holds the failed answer's tensors any more.
    pipe.say("unanswered", message=message)


if __name__ == "__main__":
    sys.exit(serve(talk))
