"""The marks of chat templates where they stand as text in rows, and whose template each belongs to.

The marks are those of the templates that these models ship in tokenizer_config.json, and the words of the
prompt forms of Alpaca, Vicuna and Anthropic's HH-RLHF.
"""

import re
from typing import Any

Mark = tuple[str, str]  # (family, mark)

# Control tokens of a tokenizer. All of them begin with "<", which is searched for first.
_TOKENS: dict[str, tuple[str, ...]] = {
    "ChatML": ("<|im_start|>", "<|im_end|>"),
    "Llama 3": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "Llama 4": ("<|header_start|>", "<|header_end|>", "<|eot|>"),
    "Gemma": ("<start_of_turn>", "<end_of_turn>"),
    "Phi": ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
    "DeepSeek": ("<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "gpt-oss": ("<|start|>", "<|channel|>", "<|message|>", "<|return|>"),
    "Command R": ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    "Llama 2": ("<<SYS>>", "<</SYS>>"),
    "end of text": ("<s>", "</s>", "<bos>", "<eos>", "<|endoftext|>"),
}
_FAMILY_OF = {mark: family for family, marks in _TOKENS.items() for mark in marks}
_TOKEN = re.compile("|".join(re.escape(mark) for mark in _FAMILY_OF))
_INST = (("Mistral / Llama 2", "[INST]"), ("Mistral / Llama 2", "[/INST]"))
_ALPACA = tuple(("Alpaca", f"### {part}:") for part in ("Instruction", "Input", "Response"))
_OPENINGS = ("\n\nHuman: ", "Human: ")  # HH-RLHF. Anywhere else the word is a word.
# Written with words alone, which no tokenizer treats in a special way.
WORDS_ALONE = frozenset({"Alpaca", "Vicuna", "Human/Assistant"})


def marks_in(text: str) -> set[Mark]:
    """The marks that the text holds. Single characters are looked for first, as most texts hold none."""
    found: set[Mark] = set()
    if "<" in text:
        found.update((_FAMILY_OF[mark], mark) for mark in _TOKEN.findall(text))
    if "[" in text:
        found.update(pair for pair in _INST if pair[1] in text)
    if "#" in text:
        found.update(pair for pair in _ALPACA if pair[1] in text)
    if "USER:" in text and "ASSISTANT:" in text:
        found.add(("Vicuna", "ASSISTANT:"))
    if text.startswith(_OPENINGS):
        found.add(("Human/Assistant", "Human:"))
    return found


def spoken(messages: list[dict[str, Any]]) -> str:
    """What the messages say, one below the other; parts of a message that are no text are left out."""
    if len(messages) == 1 and isinstance(content := messages[0].get("content"), str):
        return content
    contents = [message.get("content") for message in messages]
    return "\n".join([content for content in contents if isinstance(content, str)])
