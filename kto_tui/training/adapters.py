"""An adapter made part of its base, so that a run can begin where another one ended.

The reference is then the merged model: what the policy is before its first step.
"""

from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.models.folder import has_tokenizer, packed_as


def merge_into(folder: Path, adapter: Path, base: Path) -> None:
    """Write the model that `adapter` makes of `base` to `folder`, in the base's own dtype.

    The adapter's tokenizer comes along, or the base's where it has none. Raises UserError.
    """
    name = printable(str(adapter))
    if method := packed_as(base):
        raise UserError(
            f"--model {name} holds an adapter of packed weights ({printable(method)}), which cannot take it "
            "in without loss; name the unpacked base in its adapter_config.json"
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype="auto", local_files_only=True, trust_remote_code=False
        )
        tuned = PeftModel(model, PeftConfig.from_pretrained(str(adapter)))
        _require_all(tuned.load_adapter(str(adapter), "default"), name)
        merged = tuned.merge_and_unload(safe_merge=True)
        tokenizer = AutoTokenizer.from_pretrained(
            adapter if has_tokenizer(adapter) else base, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"--model {name} holds an adapter that does not fit its base; {one_line(error)[:300]}"
        ) from error
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _require_all(loaded: Any, name: str) -> None:
    """Refuse an adapter with weights for layers that the base has not. Raises UserError."""
    for key in loaded.unexpected_keys:
        raise UserError(
            f"--model {name} holds an adapter that does not fit its base, which has no {printable(key)}"
        )
