"""What the libraries read from the environment as they are imported: quiet, private, and quick to give up."""

import logging
import os
import warnings

_DEFAULTS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_ETAG_TIMEOUT": "10",
    "HF_HUB_DOWNLOAD_TIMEOUT": "20",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads wait for each other by spinning, which on a shared machine takes the processor from the very
    # one they wait for: three to ten times slower beside another busy process. Short spins cost little.
    "GOMP_SPINCOUNT": "1000",
}


def prepare_environment() -> None:
    """Set what is not set yet. To be called before torch and its libraries are imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    _choose_one_gpu()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpx2", "httpcore", "filelock", "fsspec", "datasets"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Each start would warn of a kernel that we do not use, and of a data set without a length.
    for noisy in ("bitsandbytes", "accelerate"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # TRL 1.16 still says gradient_checkpointing where transformers 5.23 says activation_checkpointing.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)


def _choose_one_gpu() -> None:
    """One process trains on one GPU: the first of those that it may see, numbered as nvidia-smi does.

    With several in sight transformers would spread the model over them in a way that TRL refuses. A
    launcher of several processes (WORLD_SIZE) has shared them out already.
    """
    if "WORLD_SIZE" in os.environ:
        return
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0].strip()
