"""What `acu doctor` asks of an installation. Imports nothing heavy itself: PyTorch may be what is broken."""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

_DISTRIBUTION = "active-convolution"
PURPOSES = {
    "video": "Can videos be written?",
    "bench": "Can it be timed beside DCLS?",
    "caffe": "Can Caffe networks be imported?",
    "onnx": "Can networks be exported to ONNX?",
    "table": "Can shapes become pandas tables?",
    "parquet": "Can shapes be written as Parquet?",
    "tensorboard": "Can TensorBoard show runs?",
    "timm": "Can timm's networks be trained?",
    "dev": "Can acu itself be worked on?",
}
"""What each extra of the package is for, as a question."""

# What is imported in a moment, and so is known to work; the others are only looked for.
_IMPORTED = {"video": "imageio_ffmpeg", "caffe": "google.protobuf"}


@dataclass(frozen=True)
class Verdict:
    """One question's answer: `ok`; `note` where something optional is missing; `no` where something is broken."""

    question: str
    verdict: Literal["ok", "note", "no"]
    answer: str


def diagnose() -> list[Verdict]:
    """All verdicts, in the order in which to put things right."""
    verdicts = [_acu(), _python()]
    torch = _import("torch")
    if isinstance(torch, Exception):
        verdicts.append(Verdict("Does PyTorch work?", "no", f"{_first_line(torch)}: pip install torch"))
        return verdicts
    verdicts.append(_torch(torch))
    verdicts += _operator()
    verdicts.append(_gpu(torch))
    verdicts.append(_torchvision())
    verdicts += map(_extra, extras())
    return verdicts


def _acu() -> Verdict:
    try:
        return Verdict("Which acu?", "ok", f"acu {metadata.version(_DISTRIBUTION)}")
    except metadata.PackageNotFoundError:
        return Verdict("Which acu?", "note", "used from its sources, not installed: pip install .")


def _python() -> Verdict:
    good = sys.version_info >= (3, 10)
    answer = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Verdict("Is Python new enough?", "ok" if good else "no", answer if good else f"{answer}: 3.10 is needed")


def _torch(torch: Any) -> Verdict:
    numbers = [int("".join(filter(str.isdigit, part)) or 0) for part in torch.__version__.split("+")[0].split(".")[:2]]
    answer = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads on {os.cpu_count()} processors"
    if numbers < [2, 10]:
        return Verdict("Is PyTorch new enough?", "no", f"{answer}: 2.10 is needed, pip install -U torch")
    return Verdict("Is PyTorch new enough?", "ok", answer)


def _operator() -> list[Verdict]:
    library = _import("acu_core.op.library")
    if isinstance(library, Exception):
        return [Verdict("Is the operator compiled for the CPU?", "no", f"{_first_line(library)}: pip install . again")]
    try:
        status = library.status()
    except Exception as error:
        return [Verdict("Is the operator compiled for the CPU?", "no", f"{_first_line(error)}: pip install . again")]
    if status.cpu:
        cpu = Verdict(
            "Is the operator compiled for the CPU?", "ok", f"yes, {status.instruction_set or 'portable'} code"
        )
    else:
        cpu = Verdict(
            "Is the operator compiled for the CPU?",
            "no",
            f"{status.cpu_error or 'it is not there'}: training is many times slower; install a C++ compiler and run "
            "pip install . again",
        )
    if status.cuda:
        cuda = Verdict("Is the operator compiled for CUDA?", "ok", f"yes, for {', '.join(status.cuda_architectures)}")
    else:
        cuda = Verdict(
            "Is the operator compiled for CUDA?",
            "note",
            f"{status.cuda_error or 'no'}: for a GPU, put nvcc on PATH and run ACU_CUDA=1 pip install . again",
        )
    return [cpu, cuda]


def _gpu(torch: Any) -> Verdict:
    question = "Is there a GPU?"
    if torch.version.cuda is None:
        return Verdict(question, "note", "this PyTorch is built for the CPU only")
    if not torch.cuda.is_available():
        return Verdict(question, "note", "none that PyTorch can use; training runs on the CPU")
    return Verdict(question, "ok", ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))


def _torchvision() -> Verdict:
    question = "Can CIFAR-10 be downloaded?"
    if isinstance(_import("torchvision"), Exception):
        return Verdict(question, "note", "not without torchvision: pip install torchvision")
    return Verdict(question, "ok", f"yes, torchvision {_version('torchvision') or ''}".strip())


def extras() -> tuple[str, ...]:
    """The package's extras: those of its metadata, and those known here, which may be newer."""
    try:
        named = metadata.metadata(_DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        named = []
    return tuple(dict.fromkeys([*named, *PURPOSES]))


def _extra(name: str) -> Verdict:
    """Whether what an extra brings is there."""
    question = PURPOSES.get(name, f"Is the extra {name} there?")
    needed = _required(name)
    versions = {distribution: _version(distribution) for distribution in needed}
    lacking = [distribution for distribution, version in versions.items() if version is None]
    if name in _IMPORTED and isinstance(_import(_IMPORTED[name]), Exception) and not lacking:
        lacking = needed or [_IMPORTED[name]]
    if lacking:
        advice = f"pip install '{_DISTRIBUTION}[{name}]'"
        return Verdict(question, "note", f"not without {', '.join(lacking)}: {advice}")
    if not needed and name not in _IMPORTED:
        return Verdict(question, "note", f"not known before acu is installed anew: pip install '.[{name}]'")
    there = ", ".join(f"{distribution} {version}" for distribution, version in versions.items())
    return Verdict(question, "ok", f"yes, {there or _IMPORTED[name]} (extra {name})")


def _required(extra: str) -> list[str]:
    """The distributions that an extra brings, its own name in a list of extras left out."""
    try:
        lines = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    marked = [line for line in lines if re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", line)]
    names = [match.group() for line in marked if (match := re.match(r"[A-Za-z0-9._-]+", line))]
    return [name for name in names if name != _DISTRIBUTION]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _import(name: str) -> Any:
    """The module, or the exception that importing it raised: a broken one may raise anything."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        return error


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
