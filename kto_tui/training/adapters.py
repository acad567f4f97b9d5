"""An adapter made part of its base, so that a run can begin where another one ended.

The reference is then the merged model: what the policy is before its first step.
"""

import json
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer

from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.core.events import AlertRaised
from kto_tui.models.folder import has_tokenizer, packed_as, read_json
from kto_tui.training.loading import attached, whole_model
from kto_tui.training.rounding import Rounded, in_dtype, packed_stores, rounded

# In the merged model: by how much each way of storing it rounds the weights, in sizes of the change.
ROUNDING = "kto_tui_rounding.json"
_HALF = (torch.bfloat16, torch.float16)
_ENOUGH = 0.99
_TOO_MUCH = 0.5


def merge_into(folder: Path, adapter: Path, base: Path) -> None:
    """Write the model that `adapter` makes of `base` to `folder`.

    In float32, unless the base's own dtype holds all but a hundredth of what the adapter changes. The
    adapter's tokenizer comes along, or the base's where it has none. Raises UserError.
    """
    name = printable(str(adapter))
    who = f"--model {name} holds an adapter that"
    if method := packed_as(base):
        raise UserError(
            f"--model {name} holds an adapter of packed weights ({printable(method)}), which cannot take it "
            "in without loss; name the unpacked base in its adapter_config.json"
        )
    try:
        own = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False).dtype
        model = whole_model(f"--model {name}, whose base is {base}", base, dtype=torch.float32)
        tuned = attached(who, model, adapter)
        off = _rounding(tuned)
        dtype = own if own in _HALF and _holds(rounded(tuned, in_dtype(own))) else torch.float32
        merged = tuned.merge_and_unload(safe_merge=True).to(dtype)
        tokenizer = AutoTokenizer.from_pretrained(
            adapter if has_tokenizer(adapter) else base, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{who} does not fit its base; {one_line(error)[:300]}") from error
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / ROUNDING).write_text(json.dumps(off), encoding="utf-8")


def rounding_alert(folder: Path, stored_as: str, label: str) -> AlertRaised | None:
    """What to say where the model in `folder` came of an adapter, and storing it so takes that away.

    `stored_as`: nf4, int8, or a dtype; `label`: where the model came from.
    """
    off = read_json(folder / ROUNDING).get(stored_as)
    if not isinstance(off, (int, float)) or off < _TOO_MUCH:
        return None
    keeps = "--dtype float32" if stored_as in _names(_HALF) else "--quantization none --dtype float32"
    return AlertRaised(
        kind="adapter_rounded",
        severity="warning",
        message=f"{label}: {stored_as} rounds its weights by {off:.2g} times what the adapter had changed",
        advice="Policy and reference then begin near the bare base rather than where the adapter ended. "
        f"{keeps} keeps all of it; or go on with the adapter's own run (--resume-from-checkpoint).",
    )


def _rounding(tuned: PeftModel) -> dict[str, float]:
    """How far each way of storing is off; nothing for an adapter that changes nothing."""
    found = {name: rounded(tuned, in_dtype(getattr(torch, name))) for name in _names(_HALF)}
    found |= {name: rounded(tuned, store, sampled=True) for name, store in packed_stores().items()}
    return {name: result.off for name, result in found.items() if result}


def _holds(result: Rounded | None) -> bool:
    return result is None or result.kept >= _ENOUGH


def _names(dtypes: tuple[torch.dtype, ...]) -> list[str]:
    return [str(dtype).removeprefix("torch.") for dtype in dtypes]
