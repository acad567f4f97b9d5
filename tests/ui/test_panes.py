"""The panes around the table: header, progress, memory, checkpoints, messages and the ending."""

from pathlib import Path

import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.events import (
    MOST,
    AlertRaised,
    AnyEvent,
    CheckpointPinned,
    CheckpointSaved,
    Device,
    Evaluated,
    GpuSampled,
    Progress,
    RunStarted,
    StepLogged,
)
from kto_tui.insight.state import KEPT
from tests.ui import fake_run as fake
from tests.ui.driving import Driven, stage, trained

SIZES = [(80, 24), (140, 45)]
AT = fake.START + 6000


@pytest.mark.parametrize("size", SIZES)
async def test_the_whole_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    run = Path("kto_output_rtx3090")
    driven = Driven(run, trained(run))
    driven.now = fake.START + 10 + 230 * 24.4 + 7
    async with driven.open(*size) as pilot:
        for part in (
            "● RUNNING",
            "mistralai/Mistral-7B-Instruct-v0.3",
            "run kto_output_rtx3090",
            "train.jsonl · 5,210 good, 4,790 bad",
            "step 230/500",
            "46%",
            "elapsed 1h 33m",
            "ETA 1h 49m",
            "21.4/24.0 GiB  util 97%  71°C  341 W",
            "checkpoint-200   1.3 GB  2.1 s  scheduled",
            "checkpoint-50   deleted",
            "the margin has fallen for 20 steps",
            "p pause",
        ):
            await driven.shows(pilot, part)


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (300, 100), (80, 12), (59, 60)])
async def test_odd_sizes_do_not_crash(tmp_path: Path, size: tuple[int, int]) -> None:
    driven = Driven(
        tmp_path, [*trained(tmp_path), fake.ended("failed", 230, AT, "RuntimeError: boom")], alive=False
    )
    (tmp_path / "run.log").write_text("a line\n" * 40)
    async with driven.open(*size) as pilot:
        await driven.until(pilot, lambda: driven.app.screen.has_class("-troubled"))
        await pilot.press("s", "question_mark", "escape", "home", "end")


async def test_a_long_stage_shows_its_own_progress_and_moves(tmp_path: Path) -> None:
    driven = Driven(tmp_path, fake.opening()[:4])
    driven.now = fake.START + 21
    async with driven.open(80, 24) as pilot:
        await driven.shows(pilot, "loading the model, 20s")
        assert "○ STARTING" in driven.text()
        assert "2/3 model-00002.safetensors" in driven.text()
        assert "67%" in driven.text()
        driven.now += 30
        await driven.shows(pilot, "elapsed 51s")


async def test_work_of_unknown_length_moves_without_claiming_a_share(tmp_path: Path) -> None:
    unknown = Progress(time=fake.START + 5, stage="loading_model", done=0, total=0, detail="downloading")
    driven = Driven(tmp_path, [*fake.opening()[:2], unknown])
    driven.now = fake.START + 21
    async with driven.open(80, 24) as pilot:
        await driven.shows(pilot, "downloading")
        bar = next(line for line in driven.text().splitlines() if "downloading" in line)
        assert "%" not in bar
        driven.now += 1
        await driven.until(pilot, lambda: bar not in driven.text())


async def test_a_model_worker_without_a_gpu_is_labelled_so(tmp_path: Path) -> None:
    driven = Driven(tmp_path, [*fake.opening(), GpuSampled(time=AT, devices=(fake.host(),))])
    async with driven.open(80, 24) as pilot:
        await driven.shows(pilot, "worker memory / host RAM (no NVIDIA GPU)")
        await driven.until(pilot, lambda: "GPU Mem" not in driven.text() and " Memory " in driven.text())
        await driven.shows(pilot, "1.2/62.7 GiB")


async def test_each_device_has_a_bar(tmp_path: Path) -> None:
    devices = (fake.gpu(18, 0), fake.gpu(19, 1), fake.gpu(23.5, 2))
    driven = Driven(tmp_path, [*fake.opening(), GpuSampled(time=AT, devices=devices)])
    async with driven.open(80, 24) as pilot:
        for text in ("18.0/24.0", "19.0/24.0", "23.5/24.0"):
            await driven.shows(pilot, text)


async def test_failed_checkpoints_are_told_in_full(tmp_path: Path) -> None:
    driven = Driven(tmp_path, [*trained(tmp_path), fake.failed_checkpoint(230, tmp_path, AT)])
    async with driven.open() as pilot:
        await driven.shows(pilot, "FAILED")
        await driven.says(pilot, "checkpoint at step 230 failed: OSError: No space left on device")


async def test_an_evaluation_has_a_line_in_the_table(tmp_path: Path) -> None:
    driven = Driven(tmp_path, [*trained(tmp_path), fake.evaluated(230, 0.3312, AT)])
    async with driven.open(80, 24) as pilot:
        await driven.shows(pilot, "evaluation at step 230:  loss 0.3312  margin 0.912  AUC 0.871  KL 1.234")


async def test_a_tall_and_wide_screen_keeps_the_evaluations_in_view(tmp_path: Path) -> None:
    config = RunConfig(model="m", dataset="d", eval_fraction=0.1, early_stopping_patience=3)
    driven = Driven(tmp_path, trained(tmp_path), config=config)
    async with driven.open() as pilot:
        await driven.shows(pilot, "training   AUC 0.799  of the rows last trained on")
        driven.source.tell(fake.evaluated(230, 0.3312, AT))
        await driven.shows(pilot, "best 230   loss 0.3312  margin 0.912  AUC 0.871")
        driven.source.tell(fake.evaluated(240, 0.35, AT + 9, auc=None))
        await driven.shows(pilot, "step 240   loss 0.3500  margin 0.912  AUC nan")
        await driven.shows(pilot, "best 230   loss 0.3312")
        await driven.shows(pilot, "patience   1 of 3")
        await pilot.resize_terminal(80, 24)
        await driven.until(pilot, lambda: "patience" not in driven.text())
        await driven.shows(pilot, "evaluation at step 240")


async def test_without_anything_evaluated_no_pane_takes_room(tmp_path: Path) -> None:
    driven = Driven(tmp_path, fake.opening())
    async with driven.open() as pilot:
        await driven.shows(pilot, "Checkpoints")
        assert "Evaluation" not in driven.text()


@pytest.mark.parametrize("size", SIZES)
async def test_the_messages_tell_where_the_reference_comes_from(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    driven = Driven(tmp_path, fake.opening())
    async with driven.open(*size) as pilot:
        await driven.says(
            pilot, "i reference: 12 of 1,250 blocks known, 1.2 MB of 2.0 GB in /home/me/.cache/kto-tui"
        )
        await driven.shows(pilot, "reference: 12 of 1,250 blocks known")


async def test_a_completed_run_says_where_the_model_is() -> None:
    run = Path("out")
    end = fake.ended("completed", 500, fake.START + 12_230)
    driven = Driven(run, [*fake.opening(), *fake.training(run), end], alive=False)
    async with driven.open(80, 24) as pilot:
        await driven.shows(pilot, "✓ COMPLETED at step 500 of 500 after 3h 23m")
        await driven.shows(pilot, "The model: out/final_model")
        assert "--resume" not in driven.text()


@pytest.mark.parametrize("size", SIZES)
async def test_a_worker_that_died_shows_its_last_words(tmp_path: Path, size: tuple[int, int]) -> None:
    log = "".join(f"line {number}\n" for number in range(40))
    (tmp_path / "run.log").write_text(log + "10%\r90%\n\x1b[31mSegmentation fault\x1b[0m\n")
    ended = fake.ended("failed", 230, AT, "the worker was killed by SIGSEGV")
    driven = Driven(tmp_path, [*trained(tmp_path), ended], alive=False)
    async with driven.open(*size) as pilot:
        await driven.shows(pilot, "✗ FAILED at step 230 of 500")
        await driven.shows(pilot, "the worker was killed by SIGSEGV")
        await driven.shows(pilot, "Go on from step 200: kto-tui --resume-from-checkpoint latest")
        await driven.shows(pilot, "Segmentation fault")
        assert "90%" in driven.text()
        assert "10%" not in driven.text()
        assert "line 39" in driven.text()
        await driven.shows(pilot, "230/500 0.3057")


async def test_a_supervisor_that_died_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_text("the last line\n")
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        assert "RUNNING" in driven.text()
        driven.alive = False
        await driven.shows(pilot, "✗ DIED at step 230 of 500")
        await driven.shows(pilot, "the last line")
        await driven.shows(pilot, "--resume-from-checkpoint latest")


async def test_without_a_checkpoint_no_resume_is_promised() -> None:
    driven = Driven(Path("out"), [*fake.opening(), fake.ended("failed", 0, AT, "boom")], alive=False)
    async with driven.open() as pilot:
        await driven.shows(
            pilot, "No checkpoint was saved. Start anew: kto-tui --overwrite --config out/run.yaml"
        )


async def test_a_run_that_is_resumed_while_watched_goes_on(tmp_path: Path) -> None:
    driven = Driven(tmp_path, [*trained(tmp_path), fake.ended("stopped", 230, AT)], alive=False)
    async with driven.open() as pilot:
        await driven.shows(pilot, "■ STOPPED at step 230")
        driven.alive = True
        begun = RunStarted(
            time=AT + 9, run_id="x", versions={}, host="", devices=(), resumed_from="checkpoint-200"
        )
        driven.source.tell(begun, stage("training", AT + 10))
        await driven.shows(pilot, "● RUNNING")
        assert "STOPPED at" not in driven.text()


async def test_a_resume_that_has_not_spoken_yet_is_not_called_ended(tmp_path: Path) -> None:
    driven = Driven(tmp_path, [*trained(tmp_path), fake.ended("stopped", 230, AT)], alive=True)
    async with driven.open() as pilot:
        await driven.shows(pilot, "○ STARTING")
        assert "STOPPED" not in driven.text()
        await pilot.press("d")
    assert driven.app.return_value == "detached"


async def test_a_worker_that_is_started_again_is_followed(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    driven.now = AT + 5
    async with driven.open() as pilot:
        driven.source.tell(stage("restarting", AT))
        await driven.shows(pilot, "○ RESTARTING")
        await driven.shows(pilot, "the worker is about to be started again, 5s")
        begun = RunStarted(
            time=AT + 6, run_id="x", versions={}, host="", devices=(), resumed_from="checkpoint-200"
        )
        driven.source.tell(begun, stage("loading_model", AT + 7))
        await driven.shows(pilot, "○ STARTING")
        await driven.shows(pilot, "── restarted from checkpoint-200 ─")
        await driven.shows(pilot, "loading the model")
        driven.source.tell(stage("training", AT + 20), fake.logged(205, 500, AT + 50))
        await driven.shows(pilot, "● RUNNING")
        await driven.shows(pilot, "step 205/500")
        await driven.shows(pilot, "elapsed 1h 40m")


async def test_pinned_checkpoints_are_listed_so(tmp_path: Path) -> None:
    asked = fake.saved(230, tmp_path, AT, reason="requested")
    pinned = CheckpointPinned(time=AT, step=200, path=str(tmp_path / "checkpoint-200"))
    driven = Driven(tmp_path, [*trained(tmp_path), asked, pinned])
    async with driven.open() as pilot:
        await driven.shows(pilot, "230  checkpoint-230   1.3 GB  2.1 s  pinned")
        await driven.shows(pilot, "200  checkpoint-200  pinned")


STACKS = 'Thread 0x7f (most recent call first):\n  File "[@click=app.quit]x[/].py", line 7 in wait\n\x1b[2J'


@pytest.mark.parametrize("size", SIZES)
async def test_enter_shows_all_that_an_alert_has_to_say(tmp_path: Path, size: tuple[int, int]) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open(*size) as pilot:
        assert "details" not in driven.text()
        await pilot.press("enter")
        assert len(driven.app.screen_stack) == 1
        driven.source.tell(
            AlertRaised(time=AT, kind="k", severity="error", message="it stands still", detail=STACKS)
        )
        await driven.says(pilot, "it stands still (enter: details)")
        await driven.until(pilot, lambda: len(driven.app.screen.active_bindings) > 0)
        await driven.until(pilot, lambda: "details" in driven.text().splitlines()[-1])
        await pilot.press("enter")
        await driven.shows(pilot, "Thread 0x7f (most recent call first):")
        await driven.shows(pilot, '  File "[@click=app.quit]x[/].py", line 7 in wait')
        await pilot.press("escape")
        await driven.until(pilot, lambda: "Thread 0x7f" not in driven.text())


def absurd() -> list[AnyEvent]:
    """Figures at the edge of what can be read from a journal."""
    names = ("loss", "learning_rate", "kl", "rewards/chosen", "rewards/rejected", "rewards/margins")
    metrics = dict.fromkeys((*names, "gpu_memory_bytes", "samples_per_second", "rewards/auc"), -1e308)
    device = Device(
        index=MOST, name=HOSTILE * 99, memory_used_bytes=MOST, memory_total_bytes=1,
        utilization=1e308, temperature_c=-1e308, power_w=1e308,
    )  # fmt: skip
    return [
        GpuSampled(time=0, devices=(device,) * 50),
        Progress(time=253_402_214_400, stage="training", done=MOST, total=1, detail=HOSTILE * 99),
        StepLogged(time=0, step=MOST, total_steps=0, epoch=1e308, metrics=metrics, eta_seconds=1e308),
        Evaluated(time=1e11, step=MOST, metrics=metrics),
        CheckpointSaved(time=1, step=MOST, path=HOSTILE, bytes=MOST, seconds=-1e308, reason="best"),
        AlertRaised(
            time=2e11, kind="x", severity="error", message="m" * 9000, step=MOST, detail="[x]\n" * 9000
        ),
    ]


@pytest.mark.parametrize("size", [*SIZES, (40, 10)])
async def test_absurd_figures_neither_crash_nor_burst_the_screen(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    driven = Driven(tmp_path, [*fake.opening(), *absurd(), fake.logged(5, 500, AT)])
    async with driven.open(*size) as pilot:
        await driven.until(pilot, lambda: driven.app.state.latest is not None)
        assert "0" * 50 not in driven.text()
        assert "\x1b" not in driven.text()
        await pilot.press("enter", "end", "escape", "question_mark", "escape")
        driven.source.tell(fake.ended("failed", MOST, 1e10, HOSTILE * 99))
        await driven.until(pilot, lambda: driven.app.state.ended is not None)


async def test_of_very_many_checkpoint_events_the_newest_are_shown(tmp_path: Path) -> None:
    many = [fake.saved(step, tmp_path, AT) for step in range(1, 5 * KEPT)]
    driven = Driven(tmp_path, [*fake.opening(), *many])
    async with driven.open() as pilot:
        await driven.shows(pilot, f"{5 * KEPT - 1}  checkpoint-{5 * KEPT - 1}")
        driven.source.tell(fake.saved(5 * KEPT, tmp_path, AT))
        await driven.shows(pilot, f"{5 * KEPT}  checkpoint-{5 * KEPT}")


HOSTILE = "[bold red]x[/] \x1b[2J\x1b]0;owned\x07 [/nonsense] [@click=app.quit]y[/]"


async def test_hostile_text_is_shown_as_it_is(tmp_path: Path) -> None:
    began = fake.opening()
    alert = AlertRaised(time=AT, kind="x", severity="error", message=HOSTILE, advice=HOSTILE)
    events: list[AnyEvent] = [
        *began,
        alert,
        Progress(time=AT, stage="training", done=1, total=2, detail=HOSTILE),
        fake.answer("other", HOSTILE, AT, detail=HOSTILE),
        fake.failed_checkpoint(5, Path(HOSTILE), AT),
        fake.ended("failed", 5, AT, HOSTILE),
    ]
    (tmp_path / "run.log").write_text(HOSTILE)
    driven = Driven(tmp_path, events, alive=False, config=RunConfig(model=HOSTILE, dataset=HOSTILE))
    async with driven.open() as pilot:
        await driven.shows(pilot, "[bold red]x[/]")
        await driven.shows(pilot, "[/nonsense] [@click=app.quit]y[/]")
        assert "\x1b" not in driven.text()
        assert "owned" not in driven.text()
        await pilot.press("p")


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "ansi-light"])
async def test_other_themes_draw(tmp_path: Path, theme: str) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    driven.app.theme = theme
    async with driven.open() as pilot:
        await driven.shows(pilot, "230/500 0.3057")


async def test_a_light_terminal_gets_a_light_theme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORFGBG", "0;15")
    assert Driven(tmp_path, ()).app.theme == "textual-light"
    monkeypatch.setenv("COLORFGBG", "15;0")
    assert Driven(tmp_path, ()).app.theme == "textual-dark"


async def test_no_color_leaves_no_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        await driven.shows(pilot, "230/500 0.3057 ▲")
        colors = set()
        for strip in driven.app.screen._compositor.render_strips():
            for segment in strip.apply_filter(driven.app._filters[0], driven.app.screen.background_colors[0]):
                if segment.style and segment.style.color:
                    triplet = segment.style.color.get_truecolor()
                    colors.add(len({triplet.red, triplet.green, triplet.blue}))
        assert colors == {1}
