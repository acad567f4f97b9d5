"""The run at Weights & Biases, where one is asked for: how it ended, said there too."""

import contextlib
from collections.abc import Iterator

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.training.steering import SittingEnded


@contextlib.contextmanager
def tracked(config: RunConfig) -> Iterator[None]:
    """Close the W&B run that is opened inside, as failed when an exception comes out.

    Raises UserError where W&B does not let it be opened for want of a login.
    """
    if not config.wandb:
        yield
        return
    import wandb

    exit_code = 1
    try:
        yield
        exit_code = 0
    except SittingEnded:
        exit_code = 0
        raise
    except wandb.errors.UsageError as error:
        raise UserError(f"--wandb: {error}; log in with `wandb login`, or set WANDB_MODE=offline") from error
    finally:
        if wandb.run is not None:
            wandb.finish(exit_code=exit_code)
