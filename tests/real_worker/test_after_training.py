"""What a real run has trained, used: loaded, merged, uploaded, converted and talked to."""

import base64
import copy
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from kto_tui.core.config import to_yaml
from kto_tui.core.errors import UserError
from kto_tui.core.manifest import read_manifest, verify
from kto_tui.models.merged import merged_dtype
from kto_tui.run.trained import find_trained
from kto_tui.training.after.pipe import Pipe
from kto_tui.training.after.talk import Talker
from kto_tui.training.merging import export
from kto_tui.training.packing import keep_differentiable
from kto_tui.training.talking import _answer
from kto_tui.training.tiny import build_into
from tests.fakes.hub import Handler, isolate, nobody, point_at
from tests.real_worker.harness import sit, tiny

PROBES = torch.arange(10, 30).unsqueeze(0)


class Heard(Pipe):
    """The pipe's end in a test: what was said, and nobody at the other end."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.stopped = threading.Event()
        self.leftovers: list[Path] = []
        self._begun = []
        self._beginning = threading.Lock()

    def say(self, kind: str, **what: Any) -> None:
        self.said.append({"kind": kind, **what})

    def one(self, kind: str) -> dict[str, Any]:
        (found,) = [told for told in self.said if told["kind"] == kind]
        return found


def request(run: Path, **asked: Any) -> dict[str, Any]:
    trained = find_trained(str(run))
    return {
        "config": msgspec.to_builtins(trained.config),
        "adapter": str(trained.adapter),
        **{name: str(value) if isinstance(value, Path) else value for name, value in asked.items()},
    }


def exported(run: Path, **asked: Any) -> Heard:
    pipe = Heard()
    export(pipe, request(run, **asked))
    return pipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps at a rate at which something is learned, trained on a base in NF4."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trained")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        sitting = sit(tiny(folder, max_steps=2, learning_rate=0.02, quantization="nf4"))
        assert sitting.exit_code == 0
        (sitting.output / "run.yaml").write_text(to_yaml(sitting.config))
        return sitting.output


@torch.no_grad()
def logits(model: Any) -> Tensor:
    found = model(input_ids=PROBES).logits
    assert isinstance(found, Tensor)
    return found.float()


def tuned(run: Path) -> Any:
    """Base and adapter in float32, by plain transformers and peft."""
    base = AutoModelForCausalLM.from_pretrained(run / "base_model", dtype=torch.float32)
    return PeftModel.from_pretrained(base, run / "final_model")


def test_the_card_tells_of_data_curves_and_settings(run: Path) -> None:
    card = (run / "final_model" / "README.md").read_text(encoding="utf-8")
    for words in (
        "for 2 steps on 22 rated rows",
        "`rows.jsonl`",
        "| loss | ",
        "| margin | ",
        "| `beta` | 0.1 |",
        "| `quantization` | nf4 |",
        "| `dtype` | float32 |",
        "| `optim` | adamw\\_torch |",
    ):
        assert words in card
    assert "| peft | 0." in card
    assert card.startswith("---\nlibrary_name: peft\n")


def test_the_final_model_says_what_it_is(run: Path) -> None:
    manifest = verify(run / "final_model")
    assert (manifest.step, manifest.reason) == (2, "final")
    assert "adapter_model.safetensors" in manifest.files
    assert manifest.time > read_manifest(run / "checkpoint-2").time
    assert find_trained(str(run)).adapter == run / "final_model"


def test_a_merged_model_is_what_base_and_adapter_are(run: Path, tmp_path: Path) -> None:
    """In the base's own float32, though the run trained on NF4; and it needs nothing but transformers."""
    target = tmp_path / "deeper" / "merged"
    told = exported(run, to=target).one("merged")
    assert (told["dtype"], told["lost"]) == ("float32", False)
    card = (target / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", card, re.S)
    assert code is not None
    loaded: dict[str, Any] = {}
    exec(code.group(1), loaded)
    assert type(loaded["model"]).__name__ == "LlamaForCausalLM"
    assert loaded["model"].dtype == torch.float32
    assert not hasattr(loaded["model"].config, "quantization_config")
    wanted = tuned(run)
    torch.testing.assert_close(logits(loaded["model"]), logits(wanted), atol=1e-4, rtol=1e-4)
    with wanted.disable_adapter():
        assert not torch.allclose(logits(loaded["model"]), logits(wanted), atol=0.01)
    assert "<|assistant|>" in str(loaded["tokenizer"].chat_template)
    assert "for 2 steps on 22 rated rows" in card
    assert [path.name for path in target.parent.iterdir()] == ["merged"]
    assert len({path.stat().st_mode for path in target.iterdir()}) == 1
    assert merged_dtype(target, run / "final_model", "builtin:tiny") == "float32"


def test_a_checkpoint_is_merged_in_the_dtype_asked_for(run: Path, tmp_path: Path) -> None:
    told = exported(run / "checkpoint-2", to=tmp_path / "m", dtype="bfloat16")
    assert told.one("merged")["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "m").dtype == torch.bfloat16
    assert "for 2 steps." in (tmp_path / "m" / "README.md").read_text(encoding="utf-8")


def test_changes_that_a_dtype_cannot_hold_are_noticed(run: Path, tmp_path: Path) -> None:
    small = tmp_path / "final_model"
    shutil.copytree(run / "final_model", small)
    settings = json.loads((small / "adapter_config.json").read_text())
    (small / "adapter_config.json").write_text(json.dumps({**settings, "lora_alpha": 1e-4}))
    asked = {**request(run, to=tmp_path / "m", dtype="bfloat16"), "adapter": str(small)}
    pipe = Heard()
    export(pipe, asked)
    assert pipe.one("merged")["lost"]


def test_a_merge_that_goes_wrong_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kto_tui.training.after import merge

    with monkeypatch.context() as patch:
        patch.setattr(merge, "free_bytes", lambda _: 1000)
        with pytest.raises(UserError, match=r"needs 3\.1 MB, and 1 kB are free there"):
            exported(run, to=tmp_path / "m")
    broken = tmp_path / "final_model"
    shutil.copytree(run / "final_model", broken)
    (broken / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="the adapter does not fit its base"):
        export(Heard(), {**request(run, to=tmp_path / "m"), "adapter": str(broken)})
    with monkeypatch.context() as patch:
        keep = merge._save

        def wrong(model: Any, base: Path, folder: Path) -> None:
            model.lm_head.weight.data.mul_(1.5)
            keep(model, base, folder)

        patch.setattr(merge, "_save", wrong)
        with pytest.raises(UserError, match="does not compute what base and adapter do"):
            exported(run, to=tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["final_model"]


def test_a_quantized_base_is_refused(run: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(run / "base_model", base)
    settings = json.loads((base / "config.json").read_text())
    packed = {"quant_method": "gptq", "bits": 4}
    (base / "config.json").write_text(json.dumps({**settings, "quantization_config": packed}))
    asked = request(run, to=tmp_path / "m")
    asked["config"] |= {"model": str(base), "output_dir": None}
    with pytest.raises(UserError, match="gptq"):
        export(Heard(), asked)


def test_into_a_base_that_came_in_four_bits_it_is_merged_as_it_was_trained_on(tmp_path: Path) -> None:
    """Unpacked, those are the very numbers that the run computed with."""
    build_into(tmp_path / "whole")
    packing = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    packed = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", quantization_config=packing)
    packed.save_pretrained(tmp_path / "base")
    for path in (tmp_path / "whole").glob("*token*"):
        shutil.copy(path, tmp_path / "base")
    sitting = sit(tiny(tmp_path, model=str(tmp_path / "base"), max_steps=2, learning_rate=0.02))
    (sitting.output / "run.yaml").write_text(to_yaml(sitting.config))
    told = exported(sitting.output, to=tmp_path / "m").one("merged")
    assert (told["dtype"], told["lost"]) == ("float32", False)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert not hasattr(merged.config, "quantization_config")
    keep_differentiable(packed)
    wanted = logits(PeftModel.from_pretrained(packed, sitting.output / "final_model"))
    torch.testing.assert_close(logits(merged), wanted, atol=1e-4, rtol=1e-4)


def test_gguf_is_made_by_llama_cpps_converter(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for it: what it is given, and where its file goes."""
    script = tmp_path / "llama.cpp" / "convert_hf_to_gguf.py"
    script.parent.mkdir()
    script.write_text(
        "import json, sys, pathlib\n"
        "model, _, kind, _, out = sys.argv[1:]\n"
        "json.loads((pathlib.Path(model) / 'config.json').read_text())\n"
        "pathlib.Path(out).write_text('GGUF ' + kind)\n"
    )
    monkeypatch.setenv("LLAMA_CPP_DIR", str(script.parent))
    told = exported(run, to=tmp_path / "m", gguf="f16").one("converted")
    assert told["path"] == str(tmp_path / "m" / "model-f16.gguf")
    assert Path(told["path"]).read_text() == "GGUF f16"


class Uploads(Handler):
    """A hub that takes files into `repos`, by name and path; `private` ones as they were made."""

    repos: dict[str, dict[str, bytes]]
    private: dict[str, bool]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.path)
        if self.headers.get("Authorization") != "Bearer hf_write":
            self.answer(401, b"{}")
        elif self.path == "/api/repos/create":
            self.create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self.answer(200, json.dumps({"errors": [], "warnings": []}).encode())
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.answer(200, json.dumps({"files": files}).encode())
        else:
            self.commit([json.loads(line) for line in body.splitlines()])

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        there = name in self.repos
        if not there:
            self.repos[name] = {}
            self.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.answer(
            409 if there else 200, json.dumps({"url": f"http://{self.headers['Host']}/{name}"}).encode()
        )

    def commit(self, lines: list[dict[str, Any]]) -> None:
        name = "/".join(self.path.split("/")[3:5])
        for line in lines:
            if line["key"] == "file":
                self.repos[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        told = {
            "commitUrl": f"http://{self.headers['Host']}/{name}/commit/0123",
            "commitOid": "0123",
            "success": True,
        }
        self.answer(200, json.dumps(told).encode())

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/").partition("?")[0]
        info: dict[str, object] = {"id": name, "private": self.private.get(name), "siblings": []}
        if self.headers.get("Authorization") != "Bearer hf_write" and name.endswith("/write"):
            self.answer(403, b"{}")
        else:
            self.answer(200, json.dumps(info).encode())


@contextmanager
def taking(monkeypatch: pytest.MonkeyPatch, cache: Path, token: str) -> Iterator[type[Uploads]]:
    kind = type("Taking", (Uploads,), {"repos": {}, "private": {}, "asked": [], "error": None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    isolate(cache, monkeypatch)
    point_at(f"http://127.0.0.1:{server.server_address[1]}", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", token)
    try:
        yield kind
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_merged_model_is_uploaded_private(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taking(monkeypatch, tmp_path / "cache", "hf_write") as hub:
        told = exported(run, to=tmp_path / "m", repo="org/mine")
    assert told.one("published")["repo"] == "org/mine"
    assert hub.private == {"org/mine": True}
    files = hub.repos["org/mine"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    card = files["README.md"].decode()
    assert 'AutoModelForCausalLM.from_pretrained("org/mine")' in card
    assert str(tmp_path) not in card
    assert str(run) not in card


def test_an_adapter_is_uploaded_for_a_base_of_the_hub(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(run / "checkpoint-2", repo="org/mine", public=True)
    asked["config"] |= {"model": "org/base"}
    with taking(monkeypatch, tmp_path / "cache", "hf_write") as hub:
        export(Heard(), asked)
        with pytest.raises(UserError, match="the repository is public; add --public"):
            export(Heard(), {**asked, "public": False})
    assert hub.private == {"org/mine": False}
    files = hub.repos["org/mine"]
    assert set(files) == {
        *("README.md", "adapter_config.json", "adapter_model.safetensors"),
        *("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"),
    }
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "org/base"
    card = files["README.md"].decode()
    assert 'PeftModel.from_pretrained(base, "org/mine")' in card
    assert "base_model: org/base" in card
    assert str(run) not in card


def test_a_base_that_is_not_the_hub_s_own_is_told_with_the_adapter(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "base_model").mkdir(parents=True)
    marker = {"model": "org/base", "source": "package some-model 1.0"}
    (home / "base_model" / "kto_tui_source.json").write_text(json.dumps(marker))
    asked = request(run / "checkpoint-2", repo="org/mine")
    asked["config"] |= {"model": "org/base", "output_dir": str(home)}
    pipe = Heard()
    with taking(monkeypatch, tmp_path / "cache", "hf_write") as hub:
        export(pipe, asked)
    assert "made from package some-model 1.0" in pipe.one("noted")["message"]
    assert "made from package some-model 1.0" in hub.repos["org/mine"]["README.md"].decode()


def test_a_hub_that_refuses_or_is_away_costs_no_merge(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m"
    with taking(monkeypatch, tmp_path / "cache", "hf_read"), pytest.raises(UserError, match="HF_TOKEN"):
        exported(run, to=target, repo="org/mine")
    with nobody() as address:
        point_at(address, monkeypatch)
        with pytest.raises(UserError, match="cannot be reached"):
            exported(run, to=target, repo="org/mine")
    with pytest.raises(UserError, match="no name of a repository"):
        exported(run, to=target, repo="a/b/c/../d")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        exported(run, to=target, repo="org/mine")
    assert not target.exists()


class Answers(dict[str, str]):
    def add(self, who: str, text: str) -> None:
        self[who] = self.get(who, "") + text


@pytest.fixture(scope="module")
def talker(run: Path) -> Talker:
    trained = find_trained(str(run))
    return Talker(trained.config, trained.adapter, lambda *_: None, tokens=16, temperature=0)


def asked(text: str) -> dict[str, list[dict[str, str]]]:
    return {who: [{"role": "user", "content": text}] for who in ("base", "tuned")}


def test_base_and_tuned_answer_the_same_together_and_alone(talker: Talker) -> None:
    """Each as if the other were not there."""
    together, alone, again = Answers(), Answers(), Answers()
    talker.answer(asked("What is 1 plus 5?"), together.add, threading.Event(), together=True)
    ended = talker.answer(asked("What is 1 plus 5?"), alone.add, threading.Event(), together=False)
    talker.answer({"base": asked("What is 1 plus 5?")["base"]}, again.add, threading.Event(), together=False)
    assert together == alone
    assert again["base"] == alone["base"]
    assert alone["base"] != alone["tuned"]
    assert set(ended.values()) <= {"length", "end"}


def test_the_base_answers_as_it_does_without_an_adapter(run: Path, tmp_path: Path) -> None:
    trained = find_trained(str(run))
    plain = msgspec.structs.replace(trained.config, quantization="none")
    heard = Answers()
    talker = Talker(plain, trained.adapter, lambda *_: None, tokens=16, temperature=0)
    talker.answer(asked("What is 1 plus 5?"), heard.add, threading.Event(), together=True)
    tokenizer = AutoTokenizer.from_pretrained(run / "base_model")
    prompt: Any = tokenizer.apply_chat_template(
        asked("What is 1 plus 5?")["base"],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    for who, model in (("base", tuned(run).unload()), ("tuned", tuned(run))):
        ids = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        assert heard[who] == tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )


def test_an_answer_is_stopped(talker: Talker) -> None:
    stopped, heard = threading.Event(), Answers()

    def stop_soon(who: str, text: str) -> None:
        heard.add(who, text)
        stopped.set()

    ended = talker.answer(asked("What is 1 plus 5?"), stop_soon, stopped, together=True)
    assert ended == {"base": "stopped", "tuned": "stopped"}
    assert len("".join(heard.values())) < 16


def test_what_does_not_fit_is_told(talker: Talker) -> None:
    with pytest.raises(UserError, match=r"2048.*/reset"):
        talker.answer(asked("x" * 2048), lambda *_: None, threading.Event(), together=True)


def test_a_base_without_a_template_goes_on_with_the_text(
    talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talker._tokenizer, "chat_template", None)
    assert not talker.has_template
    assert talker._encoded(asked("abc")["base"]).shape == (1, 3)
    closed = copy.deepcopy(talker._tokenizer)
    end = [("<|end|>", closed.eos_token_id)]
    closed.backend_tokenizer.post_processor = TemplateProcessing(single="$A <|end|>", special_tokens=end)
    assert closed("abc")["input_ids"][-1] == closed.eos_token_id
    monkeypatch.setattr(talker, "_tokenizer", closed)
    assert talker._encoded(asked("abc")["base"]).shape == (1, 3)


def test_an_adapter_that_lacks_weights_is_no_second_base(run: Path, tmp_path: Path) -> None:
    """PEFT would fill them with what changes nothing."""
    hollow = tmp_path / "hollow"
    shutil.copytree(run / "final_model", hollow)
    weights = load_file(hollow / "adapter_model.safetensors")
    renamed = {name.replace(".model.", ".wrapped."): weight for name, weight in weights.items()}
    few = {name: weight for name, weight in weights.items() if "down_proj" not in name}
    config = find_trained(str(run)).config
    for held, said in ((renamed, "which has no"), (few, "has no weights for")):
        save_file(held, hollow / "adapter_model.safetensors")
        with pytest.raises(UserError, match=said):
            Talker(config, hollow, lambda *_: None, tokens=1, temperature=0)
        with pytest.raises(UserError, match=said):
            export(Heard(), {**request(run, to=tmp_path / "m"), "adapter": str(hollow)})


def test_a_device_without_room_leaves_a_question_open(
    talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(**_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    pipe = Heard()
    question = {"turns": asked("x"), "together": True}
    with monkeypatch.context() as patch:
        patch.setattr(talker._model, "generate", short)
        _answer(pipe, talker, question)
    assert "too short for this answer" in pipe.one("unanswered")["message"]
    _answer(pipe, talker, question)
    assert {told["who"] for told in pipe.said if told["kind"] == "over"} == {"base", "tuned"}
    pipe.one("answered")


def kto(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kto_tui", *arguments]
    return subprocess.run(
        command, input=given, capture_output=True, encoding="utf-8", errors="surrogateescape"
    )


def test_prompts_are_answered_through_a_pipe(run: Path) -> None:
    """One of them is no UTF-8: the mark in its place is what the models see."""
    done = kto(
        "chat", str(run), "--max-new-tokens", "4", given="What is 1 plus 5?\n/reset\nCaf\udce9?\n/quit\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("── base: builtin:tiny ──") == 2
    assert done.stdout.count("── tuned: out/final_model ──") == 2
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_the_command_merges_beside_its_run(run: Path) -> None:
    done = kto("export", str(run), "--merge")
    assert done.returncode == 0, done.stderr
    assert (run / "merged_model" / "model.safetensors").is_file()
    assert "trained on the base in nf4" in done.stdout
    assert kto("export", str(run), "--merge").returncode == 2
