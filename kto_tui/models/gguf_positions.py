"""How a GGUF file scales rotary positions, in the words of a config.json's `rope_parameters`.

What llama.cpp does with the same keys and tensors is what counts: its converter and its ggml_rope_yarn.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kto_tui.models.gguf_header import gguf_head, kind_of

_LLAMA3 = "rope_freqs.weight"
_LONG, _SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
# By how much factors may differ that are the same: their digits in 32 bits, and ours.
_TOLERANCE = 1e-5
_USUAL = (1.0, 4.0, 8192)  # Of every Llama from 3.1 on: low, high, original length.
_WITHOUT_EFFECT = ("type", "factor", "finetuned", "original_context_length")  # By themselves.


class NotUnderstoodError(ValueError):
    """Positions are scaled in a way that has no exact counterpart; the text names the key or tensor."""


def scaled_positions(path: Path) -> dict[str, Any] | None:
    """Entries of `rope_parameters`, but for the base frequency; None where positions are not scaled.

    Raises NotUnderstoodError, OSError, ValueError.
    """
    values, tensors = gguf_head(path)
    kind = kind_of(values)
    prefix = f"{kind}.rope.scaling."
    scaling = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    factor = scaling.get("factor") or values.get(f"{kind}.rope.scale_linear") or 1.0
    named = scaling.get("type", "linear")
    own = sorted(name for name in tensors if name.startswith("rope_"))
    if own == sorted((_LONG, _SHORT)) and kind == "phi3" and factor == 1.0:
        _require_known(scaling, "attn_factor")
        return _longrope(path, values, scaling)
    if named == "none" or (named == "linear" and factor == 1.0):
        _require_known(scaling)
        if not own:
            return None
        if own == [_LLAMA3] and kind == "llama":
            return _llama3(_factors(path, _LLAMA3), float(values.get(f"{kind}.rope.freq_base", 10000.0)))
    if own:
        raise NotUnderstoodError(own[0])
    if named == "linear":
        _require_known(scaling)
        return {"rope_type": "linear", "factor": float(factor)}
    if named == "yarn":
        _require_known(scaling, "attn_factor", "yarn_beta_fast", "yarn_beta_slow")
        return _yarn(values, scaling)
    raise NotUnderstoodError(f"{prefix}type {named}")


def _require_known(scaling: Mapping[str, Any], *heeded: str) -> None:
    """Raises NotUnderstoodError for an entry that has an effect, and is not one of those that are heeded."""
    idle = {"yarn_ext_factor": 1.0, "yarn_attn_factor": 1.0, "attn_factor": 1.0, "yarn_log_multiplier": 0.0}
    for name, value in scaling.items():
        if name not in (*_WITHOUT_EFFECT, *heeded) and value != idle.get(name):
            raise NotUnderstoodError(f"rope.scaling.{name} {value}")


def _yarn(values: Mapping[str, Any], scaling: Mapping[str, Any]) -> dict[str, Any]:
    """ggml multiplies cos and sin by 1 + 0.1 ln factor, and by the factor that the file names."""
    factor = float(scaling.get("factor") or 1.0)
    return {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": _original(values, scaling),
        "attention_factor": float(scaling.get("attn_factor", 1.0)) * (1 + 0.1 * math.log(max(factor, 1.0))),
        "beta_fast": float(scaling.get("yarn_beta_fast", 32.0)),
        "beta_slow": float(scaling.get("yarn_beta_slow", 1.0)),
    }


def _original(values: Mapping[str, Any], scaling: Mapping[str, Any]) -> int:
    length = scaling.get("original_context_length") or values.get(f"{kind_of(values)}.context_length")
    if not isinstance(length, int):
        raise NotUnderstoodError("rope.scaling.original_context_length is missing")
    return length


def _longrope(path: Path, values: Mapping[str, Any], scaling: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "rope_type": "longrope",
        "long_factor": _factors(path, _LONG),
        "short_factor": _factors(path, _SHORT),
        "original_max_position_embeddings": _original(values, scaling),
        "attention_factor": float(scaling.get("attn_factor", 1.0)),
    }


def _llama3(factors: list[float], base: float) -> dict[str, Any] | None:
    """The parameters from the factors that they were made into.

    Between 1 and the largest factor F, 1/f runs in a straight line over 1/wavelength: two points give the two
    ends of the line, and a third number is free, since only its quotients with them count. Whatever is found
    is tried: it has to give these factors again, all of them. Raises NotUnderstoodError.
    """
    largest = max(factors)
    if all(abs(factor - 1) < _TOLERANCE for factor in factors):
        return None
    waves = [2 * math.pi * base ** (place / len(factors)) for place in range(len(factors))]
    for low, high, original in (_USUAL, *_fitted(factors, waves)):
        again = [_factor(wave, largest, low, high, original) for wave in waves]
        if all(abs(a - b) <= _TOLERANCE * b for a, b in zip(again, factors, strict=True)):
            return {
                "rope_type": "llama3",
                "factor": largest,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
    raise NotUnderstoodError(_LLAMA3)


def _fitted(factors: list[float], waves: list[float]) -> list[tuple[float, float, int]]:
    largest, original = max(factors), _USUAL[2]
    between = [
        (1 / wave, (1 / factor - 1 / largest) / (1 - 1 / largest))
        for wave, factor in zip(waves, factors, strict=True)
        if 1 + _TOLERANCE < factor < largest * (1 - _TOLERANCE)
    ]
    if len(between) < 2:
        return []
    (first, above), (last, below) = between[0], between[-1]
    slope = (above - below) / (first - last)
    low, high = (last + (end - below) / slope for end in (0.0, 1.0))
    return [(low * original, high * original, original)]


def _factor(wave: float, largest: float, low: float, high: float, original: int) -> float:
    """By what a frequency of this wavelength is divided (Llama 3.1)."""
    share = (original / wave - low) / (high - low)
    return 1 / (1 / largest + (1 - 1 / largest) * min(1.0, max(0.0, share)))


def _factors(path: Path, name: str) -> list[float]:
    """The numbers in a tensor of the file. Raises NotUnderstoodError for other ones than factors."""
    from gguf import GGMLQuantizationType, GGUFReader

    (tensor,) = (tensor for tensor in GGUFReader(path).tensors if tensor.name == name)
    if tensor.tensor_type not in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
        raise NotUnderstoodError(name)
    found = [float(factor) for factor in tensor.data.reshape(-1)]
    if not found or not all(math.isfinite(factor) and factor > 0 for factor in found):
        raise NotUnderstoodError(name)
    return found
