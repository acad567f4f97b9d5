"""KTO as this project does it, on top of TRL's trainer.

The way of one optimizer step: `get_batch_samples` takes its blocks and completes them with what needs no
gradient, the reference's log-probabilities and z; `training_step` passes each block through the model, in
parts where memory asks for it; `compute_loss` is the loss of one part.
"""

# ruff: noqa: ARG002  (the methods' signatures are transformers')

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel
from trl.trainer.utils import use_adapter

from kto_tui.core.config import KlScope
from kto_tui.training.activations import needed_bytes
from kto_tui.training.batches import Block
from kto_tui.training.blocks import EpochBlocks
from kto_tui.training.judging import JudgingTrainer
from kto_tui.training.loss import clamped_mean, row_weights, unweighted_losses
from kto_tui.training.optimizing import guard
from kto_tui.training.optional import given
from kto_tui.training.passes import Passes
from kto_tui.training.plans import Blocks, Planned, Step
from kto_tui.training.recovery import Rows, Shrunk
from kto_tui.training.reference import ReferenceCache
from kto_tui.training.scoring import Scorer, Scores, experts, has_dropout, install_scoring
from kto_tui.training.shared_prompt import can_share
from kto_tui.training.skipping import Skips, step_only_if
from kto_tui.training.snapshot import Before, RandomState
from kto_tui.training.tally import RewardHistory, Tally


class EngineTrainer(JudgingTrainer):
    """A KTOTrainer that is given its rows tokenized and planned.

    `kl_scope`: the rows that z is estimated over, those of a whole optimizer step or of each block alone, as
    in TRL. `reference`: where the reference's log-probabilities are kept; None computes them each time.
    """

    _tr_loss: Tensor

    def __init__(
        self,
        *,
        train: Planned,
        evaluation: Planned | None = None,
        kl_scope: KlScope = "step",
        reference: ReferenceCache | None = None,
        **kwargs: Any,
    ) -> None:
        self._train_plan, self._eval_plan = train, evaluation
        self._kl_scope: KlScope = kl_scope
        self._reference = reference
        self._step: Step | None = None
        self._may_step = True
        self.tally, self.rewards, self.skips = Tally(), RewardHistory(), Skips()
        # TRL insists on tables of its own; all that it does with one that is tokenized is to look at a row.
        table = Dataset.from_list([{"prompt_ids": [], "completion_ids": [], "label": True}])
        super().__init__(train_dataset=table, **kwargs)
        self.train_dataset, self.eval_dataset = train.rows, evaluation and evaluation.rows
        largest = max((len(block) for block in train.blocks), default=1)
        alone = self.args.world_size == 1
        most = min(largest, self.args.per_device_train_batch_size)
        self.train_rows = Rows(most, self.report_shrunk, recovers=alone)
        self.eval_rows = Rows(
            self.args.per_device_eval_batch_size, self.report_shrunk, recovers=alone, evaluating=True
        )

        for model in filter(None, (self._inner(self.model), self.ref_model)):
            install_scoring(model)
        inner = self._inner(self.model)
        # Architectures without experts may have the setting all the same.
        if experts(inner) == 0:
            self.aux_loss_enabled = False
        self.passes = Passes(
            lambda: self._policy,
            self._as_reference,
            reference,
            shares_prompts=can_share(inner, self.args.max_length),
        )

    def needed_bytes(self) -> int:
        """What the activations of the largest block take if none is computed again in the backward pass."""
        with self.accelerator.autocast():
            return needed_bytes(self._policy, self._largest_block())

    def checkpoint_gradients(self) -> None:
        """Keep few activations, and compute the others again in the backward pass. Before training begins."""
        # transformers 5.23 reads the newer name, TRL 1.16 the older one.
        self.args.activation_checkpointing = self.args.gradient_checkpointing = True
        self.model.enable_input_require_grads()

    def _largest_block(self) -> Block:
        rows, lengths = self._train_plan.rows, self._train_plan.rows.lengths(self.args.max_length)
        largest = max(self._train_plan.blocks, key=lambda block: len(block) * lengths[list(block)].max())
        return self._collator([rows[row] for row in largest]).to(self.args.device)

    def report_shrunk(self, shrunk: Shrunk) -> None:
        """Called when memory ran out and less is passed through the model at once from now on."""

    def report_skipped(self, rows: Sequence[int]) -> None:
        """Called when a step was skipped since loss or gradients of these rows were not finite."""

    def between_passes(self) -> None:
        """Called before each pass of a step through the model. May raise to leave it: see `put_back`."""

    # What TRL and transformers ask for

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """Nothing: the rows come as they are to be."""
        return dataset

    def get_train_dataloader(self) -> Blocks:
        """The blocks, in an order drawn anew for each epoch; each of several ranks has its share."""
        rank, ranks = self.args.process_index, self.args.world_size
        blocks = EpochBlocks(self._train_plan.blocks, self.args.seed, rank, ranks)
        return Blocks(self._train_plan.rows, blocks, self._collator)

    def floating_point_ops(self, inputs: Block) -> int:
        """Not counted."""
        return 0

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        guard(optimizer, self.train_rows)
        step_only_if(optimizer, lambda: self._may_step)
        return optimizer

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Tensor | float:
        """The norm. The gradients are complete by now: here it is decided whether the step may be taken."""
        norm: Tensor | float = super()._get_grad_norm(model, grad_norm=grad_norm)
        self._decide(torch.as_tensor(norm, device=self.args.device))
        return norm

    def _decide(self, norm: Tensor) -> None:
        """A step is taken if losses and gradients are finite on every rank. If not, it leaves no trace.

        In float16 gradients overflow while the scale of the losses is found; its scaler sees to these.
        """
        step = given(self._step)
        scaled = self.accelerator.scaler is not None
        fine = step.losses_are_finite() & (torch.isfinite(norm) | torch.tensor(scaled, device=norm.device))
        self._may_step = float(self.accelerator.reduce(fine.float())) == self.args.world_size
        if self._may_step:
            self.skips.took()
            return
        self.skips.skipped()
        self._take_back(step.before)
        self._tr_loss = step.before.loss.clone()
        self.report_skipped(step.offending_rows())

    def get_batch_samples(
        self, epoch_iterator: Iterator[Block], num_batches: int, device: torch.device
    ) -> tuple[list[Block], None]:
        """The blocks of one optimizer step, completed with what needs no gradient."""
        before = self._as_it_is()
        blocks = [block.to(device) for block in itertools.islice(epoch_iterator, num_batches)]
        total = sum(map(len, blocks))
        # Each row counts alike, also where one block has fewer of them.
        shared = [replace(block, share=len(block) * len(blocks) / total) for block in blocks]
        self._total_train_tokens += sum(block.tokens for block in blocks)
        self._step = Step(shared, before)
        self.train_rows.carry_out(self._prepare_step)
        return self._step.blocks, None

    def training_step(self, model: torch.nn.Module, inputs: Block, num_items_in_batch: None = None) -> Tensor:
        """Gradients of one block. When memory runs out, the step begins again in smaller parts."""
        step = given(self._step)
        # Not before: a resumed run takes up its random state after it has taken the step's blocks.
        step.randomness = step.randomness or RandomState.now()
        upto = step.trained + 1
        return self.train_rows.carry_out(lambda rows: self._train(model, upto, rows), self._begin_again)

    def _train(self, model: torch.nn.Module, upto: int, rows: int) -> Tensor:
        """Train the step's blocks up to this many. Returns the loss of the last one."""
        step = given(self._step)
        self._prepare_step(rows)
        loss = torch.zeros((), device=self.args.device)
        while step.trained < upto:
            block = step.blocks[step.trained]
            loss = torch.stack([self._train_part(model, part) for part in block.parts(rows)]).sum()
            step.trained += 1
        return loss

    def _train_part(self, model: torch.nn.Module, part: Block) -> Tensor:
        self.between_passes()
        loss: Tensor = super().training_step(model, part)
        return loss

    def _begin_again(self) -> None:
        """Take back what the step under way has left in gradients and figures."""
        step = given(self._step)
        self.model.zero_grad()
        self._take_back(step.before)
        step.trained = 0
        step.finite.clear()
        if step.randomness is not None:
            step.randomness.restore()

    def _as_it_is(self) -> Before:
        loss, tokens = self._tr_loss.clone(), self._total_train_tokens
        return Before(self.tally.copy(), self.rewards.mark(), tokens, loss)

    def _take_back(self, before: Before) -> None:
        self.tally = before.tally.copy()
        self.rewards.rewind(before.rewards)

    def put_back(self) -> None:
        """Have everything be as it was after the last whole step: the one under way was left."""
        self._begin_again()
        before = given(self._step).before
        self._total_train_tokens, self._tr_loss = before.tokens, before.loss

    def _prepare_step(self, rows: int) -> None:
        """References and z of the step's blocks, once for each size of the parts."""
        step = given(self._step)
        if step.prepared_for == rows:
            return
        passes = self.passes
        for place, block in enumerate(step.blocks):
            if block.ref_logps is None:
                self.between_passes()
                step.blocks[place] = passes.with_reference(block, self._few(rows))
        self.between_passes()
        if self.calculate_KL and not self._z_comes_with_the_gradient(step.blocks, rows):
            step.blocks = self._with_reference_points(step.blocks, rows)
        step.prepared_for = rows

    def _z_comes_with_the_gradient(self, blocks: Sequence[Block], rows: int) -> bool:
        """Whether the pass with gradient can hand its prompts on to the mismatched answers.

        It can where z is that of a single pass, and the pass keeps what attention knows: gradient
        checkpointing drops it, dropout would put its noise into z.
        """
        keeps = not self.args.activation_checkpointing and not has_dropout(self.model)
        alone = self._kl_scope == "micro_batch" or len(blocks) == 1
        whole = all(len(block) <= rows for block in blocks)
        return alone and whole and self.passes.shares_prompts and keeps

    def _with_reference_points(self, blocks: Sequence[Block], rows: int) -> list[Block]:
        made = self.passes.policy_mismatched(blocks, rows)
        ratios = [logps - given(b.ref_kl_logps) for logps, b in zip(made, blocks, strict=True)]
        if self._kl_scope == "micro_batch":
            points = [self._reference_point(ratio) for ratio in ratios]
        else:
            points = [self._reference_point(torch.cat(ratios))] * len(blocks)
        return [replace(b, reference_point=z) for b, z in zip(blocks, points, strict=True)]

    def _reference_point(self, ratios: Tensor) -> Tensor:
        """() z over these pairs and those of the other ranks at this point; (pairs,) log-ratios."""
        sums = torch.stack([ratios.sum(), ratios.new_tensor(float(len(ratios)))])
        total, count = self.accelerator.reduce(sums)
        return clamped_mean(total, count)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Block,
        return_outputs: bool = False,
        num_items_in_batch: None = None,
    ) -> Tensor:
        """() mean loss of one part of a block, scaled by the share that its rows have in the step."""
        block, passes = inputs, self.passes
        inline = self.calculate_KL and block.reference_point is None
        scores = self._policy.score(block.own, keep=inline, **self._router_inputs(block))
        if inline:
            others = passes.mismatched(self._policy, given(block.mismatched), scores)
            block = replace(block, reference_point=self._reference_point(others - given(block.ref_kl_logps)))
        log_ratio = given(scores.logps) - given(block.ref_logps)
        point = log_ratio.new_zeros(()) if block.reference_point is None else block.reference_point
        losses = unweighted_losses(self.loss_type, log_ratio, point, block.desirable, self.beta)
        losses = losses * row_weights(block.desirable, (self.desirable_weight, self.undesirable_weight))
        self._count(block, scores, log_ratio.detach(), point)
        given(self._step).finite.append((block.numbers, torch.isfinite(losses.detach())))
        loss = losses.mean()
        if scores.aux_loss is not None:
            loss = loss + self.router_aux_loss_coef * scores.aux_loss
            self.tally.add("aux_loss", scores.aux_loss * len(block), len(block))
        return loss * block.share

    def _router_inputs(self, block: Block) -> dict[str, Any]:
        """For a mixture of experts whose balance is trained too; the mask keeps padding out of it."""
        if not self.aux_loss_enabled:
            return {}
        positions = torch.arange(block.own.input_ids.shape[1], device=block.own.lengths.device)
        mask = (positions < block.own.lengths[:, None]).long()
        return {"output_router_logits": True, "attention_mask": mask}

    def _count(self, block: Block, scores: Scores, log_ratio: Tensor, point: Tensor) -> None:
        """Take the figures of one part into the tally."""
        tokens = block.own.lengths - block.own.prompt_lengths
        rewards = self.beta * log_ratio
        self.rewards.add(rewards, block.desirable)
        # By rows, since a block may be in parts, and parts of unlike size.
        self.tally.add("kl", point * len(block), len(block))
        self.tally.add("entropy", given(scores.entropies), tokens.sum())
        for side, member in (("chosen", block.desirable), ("rejected", ~block.desirable)):
            self.tally.add(f"rewards/{side}", rewards * member, member.sum())
            self.tally.add(f"logps/{side}", given(scores.logps) * member, member.sum())
            self.tally.add(f"logits/{side}", given(scores.mean_logits) * member, (tokens * member).sum())

    # The models

    @property
    def _policy(self) -> Scorer:
        return Scorer(self.model_wrapped, self._inner(self.model))

    def _inner(self, model: torch.nn.Module) -> PreTrainedModel:
        """The transformers model inside PEFT's."""
        unwrapped = self.accelerator.unwrap_model(model)
        inner = unwrapped.get_base_model() if hasattr(unwrapped, "get_base_model") else unwrapped
        assert isinstance(inner, PreTrainedModel)
        return inner

    @contextmanager
    def _as_reference(self) -> Iterator[Scorer]:
        """The reference: a model of its own, or the policy without its adapter."""
        if self.ref_model is not None:
            yield Scorer(self.ref_model, self._inner(self.ref_model))
            return
        peft = self.accelerator.unwrap_model(self.model)
        with use_adapter(peft, adapter_name="ref" if "ref" in peft.peft_config else None):
            yield self._policy

    # The reference cache, and figures

    def keep_references(self) -> None:
        """Have what was computed of the reference reach the disk."""
        if self._reference is not None:
            self._reference.flush()

    def close(self) -> None:
        """Have all that was computed of the reference reach the disk, and let go of it."""
        if self._reference is not None:
            self._reference.close()

    def learn_references(self) -> None:
        """Take up what other runs have computed of the reference since."""
        if self._reference is not None:
            self._reference.refresh()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the figures of the steps since the last log to a step's; TRL's own averages are not used."""
        if self.model.training:
            if "loss" in logs:
                logs["loss"] = self.skips.mean_of_taken(logs["loss"])
            tokens = torch.tensor(self._total_train_tokens, device=self.args.device)
            logs |= self.tally.means(self.accelerator.reduce)
            logs["num_tokens"] = int(self.accelerator.reduce(tokens))
            if (area := self.rewards.settled().auc()) is not None:
                logs["rewards/auc"] = area
            self.tally.clear()
        super().log(logs, start_time)
