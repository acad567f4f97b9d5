import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kto_tui.training.tiny import build_into, build_model, build_tokenizer

QUESTION = [{"role": "user", "content": "What is 7 plus 5? ⊕ é 漢字\n"}]
ANSWER = [{"role": "assistant", "content": "12."}]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.slow
def test_every_process_builds_the_same_bytes(tmp_path: Path) -> None:
    build_into(tmp_path / "here")
    code = (
        "import sys, pathlib; from kto_tui.training.tiny import build_into as b; b(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, capture_output=True)
    assert digests(tmp_path / "here") == digests(tmp_path / "there")


def test_building_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    build_model(build_tokenizer())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_any_text_survives_the_tokenizer() -> None:
    tokenizer = build_tokenizer()
    text = QUESTION[0]["content"]
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id is None


def test_a_prompt_is_the_beginning_of_its_conversation() -> None:
    tokenizer = build_tokenizer()
    prompt = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(QUESTION + ANSWER, tokenize=False)
    prompt_ids, whole_ids = tokenizer(prompt)["input_ids"], tokenizer(whole)["input_ids"]
    assert whole_ids[: len(prompt_ids)] == prompt_ids
    assert whole_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
