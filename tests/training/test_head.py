"""The head's chunks against plain logits and log_softmax, in values and gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)

from kto_tui.training import head
from kto_tui.training.head import Head, TokenScores

POSITIONS, WIDTH, VOCABULARY = 37, 12, 29
# Of hidden states, label by label, weights for the sum that is derived: no two alike.
MIX = torch.linspace(-1.0, 1.0, POSITIONS)


@dataclass
class Case:
    """A head, and what it is given."""

    head: Head
    hidden: Tensor
    labels: Tensor


def make(
    *, bias: bool = False, scale: float = 1.0, softcap: float | None = None, trained: bool = False
) -> Case:
    torch.manual_seed(3)
    linear = torch.nn.Linear(WIDTH, VOCABULARY, bias=bias)
    torch.nn.init.normal_(linear.weight)
    linear.requires_grad_(trained)
    hidden = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    return Case(Head(linear, scale, softcap), hidden, torch.randint(VOCABULARY, (POSITIONS,)))


def plainly(case: Case) -> TokenScores:
    """All logits at once, and autograd through log_softmax."""
    logits = case.head.linear(case.hidden) * case.head.scale
    if case.head.softcap is not None:
        logits = case.head.softcap * torch.tanh(logits / case.head.softcap)
    every = torch.log_softmax(logits, -1)
    entropies = torch.special.entr(logits.softmax(-1)).sum(-1)
    return TokenScores(every[torch.arange(POSITIONS), case.labels], entropies, logits.mean(-1))


def gradients(case: Case, scores: TokenScores) -> dict[str, Tensor]:
    """Of the mixed log-probabilities, by all that takes one."""
    takers = {"hidden": case.hidden, **dict(case.head.linear.named_parameters())}
    wanted = {name: tensor for name, tensor in takers.items() if tensor.requires_grad}
    found = torch.autograd.grad((scores.logps * MIX).sum(), list(wanted.values()))
    return dict(zip(wanted, found, strict=True))


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias": {"bias": True},
    "scaled": {"scale": 0.25},
    "bias and scale": {"bias": True, "scale": 3.0},
    "softcap": {"softcap": 2.0},
    "softcap, scaled, bias": {"softcap": 2.0, "scale": 0.5, "bias": True},
    "trained": {"trained": True},
    "trained, scaled, bias": {"trained": True, "scale": 0.5, "bias": True},
}


@pytest.mark.parametrize("chunk", [1, 10_000], ids=["chunks", "one chunk"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_plain_logits(
    kind: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """37 positions are three chunks of at most 16, the least there is."""
    monkeypatch.setattr(head, "CHUNK_BYTES", chunk * VOCABULARY)
    case = make(**KINDS[kind])
    found, wanted = case.head.score(case.hidden, case.labels), plainly(case)
    torch.testing.assert_close(found.logps, wanted.logps, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.entropies, wanted.entropies, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.mean_logits, wanted.mean_logits, rtol=1e-5, atol=1e-5)
    theirs = gradients(case, wanted)
    for name, gradient in gradients(case, found).items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-5, msg=name)
    assert ("weight" in theirs) == KINDS[kind].get("trained", False)


@pytest.mark.parametrize("kind", ["bias and scale", "softcap"])
def test_the_gradient_is_that_of_small_differences(kind: str) -> None:
    case = make(**KINDS[kind])
    (slope,) = torch.autograd.grad((case.head.score(case.hidden, case.labels).logps * MIX).sum(), case.hidden)
    direction = torch.randn_like(case.hidden) * 1e-2
    with torch.no_grad():
        ends = [
            (case.head.score(case.hidden + sign * direction, case.labels).logps * MIX).sum()
            for sign in (1, -1)
        ]
    assert float(ends[0] - ends[1]) / 2 == pytest.approx(float((slope * direction).sum()), rel=2e-3)


def test_without_gradient_there_are_no_entropies() -> None:
    case = make()
    found = case.head.score(case.hidden.detach(), case.labels)
    torch.testing.assert_close(found.logps, plainly(case).logps, rtol=1e-5, atol=1e-5)
    assert bool(found.entropies.isnan().all())


def test_large_logits_do_not_overflow() -> None:
    """A sum of plain exponentials would."""
    case = make(scale=1e4)
    found, wanted = case.head.score(case.hidden, case.labels), plainly(case)
    torch.testing.assert_close(found.logps, wanted.logps, rtol=1e-5, atol=1e-2)
    assert bool(found.logps.isfinite().all())
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(case, found).values())


def test_a_bfloat16_head_is_summed_in_float32() -> None:
    """The logits are rounded as the matrix product leaves them, and nothing after that is."""
    case = make()
    case.head.linear.to(torch.bfloat16)
    hidden = case.hidden.detach().bfloat16()
    found = case.head.score(hidden, case.labels).logps
    every = case.head.linear(hidden).float().log_softmax(-1)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, every[torch.arange(POSITIONS), case.labels], rtol=1e-6, atol=1e-5)


def test_no_more_logits_than_a_chunk_are_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CHUNK_BYTES", 4 * VOCABULARY * 16)
    sizes: list[int] = []
    linear = torch.nn.functional.linear

    def noting(*operands: Any) -> Tensor:
        made = linear(*operands)
        sizes.append(made.shape[0])
        return made

    case = make()
    monkeypatch.setattr(torch.nn.functional, "linear", noting)
    case.head.score(case.hidden, case.labels)
    assert sizes == [16, 16, 5]


SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
}
ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "gemma 2 caps": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=0.5)),
    "cohere multiplies": lambda: CohereForCausalLM(CohereConfig(**SMALL, logit_scale=0.0625)),
    "granite divides": lambda: GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=8.0)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_an_architecture_does_with_its_logits(name: str) -> None:
    torch.manual_seed(0)
    model = ARCHITECTURES[name]().eval()
    ids = torch.randint(1, VOCABULARY, (1, 9))
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids).last_hidden_state[0]
        mine = Head.of(model).logits(hidden)
        theirs = model(input_ids=ids).logits[0]
    torch.testing.assert_close(mine, theirs)
