"""The evaluation of a KTO trainer: rows held out, in blocks of their own plan."""

# ruff: noqa: ARG002  (the methods' signatures are transformers')

import functools
import time

from trl import KTOTrainer

from kto_tui.core.config import KlScope
from kto_tui.training.batches import Block, Collator
from kto_tui.training.blocks import EpochBlocks
from kto_tui.training.evaluation import Judged, Objective, evaluate_blocks
from kto_tui.training.optional import given
from kto_tui.training.passes import Passes
from kto_tui.training.plans import Blocks, Planned
from kto_tui.training.recovery import Rows


class JudgingTrainer(KTOTrainer):  # type: ignore[misc]
    """A KTOTrainer that evaluates as it is trained here. What trains gives it passes, rows and plan."""

    passes: Passes
    eval_rows: Rows
    _eval_plan: Planned | None
    _kl_scope: KlScope

    @property
    def _collator(self) -> Collator:
        return Collator(self.processing_class.pad_token_id, self.args.max_length, self.calculate_KL)

    def _few(self, rows: int) -> int:
        """Rows at once in passes that keep what attention knows of them.

        Where activations are not kept for want of memory, keys and values would be the largest of all.
        """
        return max(1, rows // 4) if self.args.activation_checkpointing else rows

    def evaluate(
        self, eval_dataset: None = None, ignore_keys: None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The figures of the evaluation rows, in blocks of their own plan; see `evaluate_blocks`."""
        assert self._eval_plan is not None
        began = time.perf_counter()
        self.model.eval()
        # All of it on each rank, so that every one comes to the same figures.
        loader = Blocks(self._eval_plan.rows, EpochBlocks(self._eval_plan.blocks, seed=0), self._collator)
        self.callback_handler.eval_dataloader = loader
        judged = []
        for block in loader:
            judged.append(
                self.eval_rows.carry_out(functools.partial(self._judge, block.to(self.args.device)))
            )
            self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        metrics = evaluate_blocks(judged, self._objective)
        seconds = time.perf_counter() - began
        metrics |= {"runtime": seconds, "samples_per_second": len(self._eval_plan.rows) / seconds}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(metrics)
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _judge(self, block: Block, rows: int) -> Judged:
        block = self.passes.with_reference(block, self._few(rows))
        own, *others = (logps.cpu() for logps in self.passes.policy(block, self._few(rows)))
        mismatched = others[0] - given(block.ref_kl_logps).cpu() if others else None
        return Judged(block.desirable.cpu(), own, own - given(block.ref_logps).cpu(), mismatched)

    @property
    def _objective(self) -> Objective:
        weights = (self.desirable_weight, self.undesirable_weight)
        return Objective(self.loss_type, self.beta, weights, pools_z=self._kl_scope == "step")
