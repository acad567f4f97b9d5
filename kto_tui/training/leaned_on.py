"""What training takes from TRL 1.16 and transformers 5.23 beside their documented hooks, all in one place.

`tests/training/test_leaned_on.py` names what a release has moved.
"""

# Methods that ours stand in for: a trainer that no longer calls them would silently go its own way.
OVERRIDDEN = (
    *("_prepare_dataset", "get_train_dataloader", "create_optimizer", "floating_point_ops"),
    *("get_batch_samples", "training_step", "compute_loss", "evaluate", "log"),
    *("_save_checkpoint", "_get_output_dir", "_load_from_checkpoint", "_load_optimizer_and_scheduler"),
    *("_get_grad_norm", "_load_rng_state", "_load_scaler", "_send_telemetry", "create_model_card"),
)

# Attributes of a trainer that are read or set.
ATTRIBUTES = (
    *("beta", "loss_type", "desirable_weight", "undesirable_weight", "calculate_KL", "ref_model"),
    *("aux_loss_enabled", "router_aux_loss_coef", "model_wrapped", "callback_handler", "_total_train_tokens"),
)

# Arguments under the name that is read as training begins.
ARGUMENTS = ("activation_checkpointing",)

# Attributes that are there once training has begun; `accumulators.json` keeps them.
WHILE_TRAINING = ("_tr_loss", "_globalstep_last_logged")

# Functions that are called, by module.
FUNCTIONS = {
    "trl.trainer.utils": ("use_adapter",),
    "trl.data_utils": ("common_prefix_length",),
    "transformers.trainer_pt_utils": ("safe_globals",),
    "peft": ("get_peft_model_state_dict",),
    "transformers.cache_utils": ("DynamicCache", "DynamicLayer"),
    "transformers.models.mixtral.modeling_mixtral": ("load_balancing_loss_func",),
}
