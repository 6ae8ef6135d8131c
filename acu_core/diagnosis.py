"""What `acu doctor` asks of an installation. Imports nothing heavy itself: PyTorch may be what is broken."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal


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
    verdicts += [
        _optional("torchvision", "Can CIFAR-10 be downloaded?", "torchvision", "pip install torchvision"),
        _optional(
            "imageio_ffmpeg",
            "Can videos be written?",
            "imageio-ffmpeg",
            "pip install 'active-convolution[video]'",
        ),
        _optional(
            "google.protobuf", "Can Caffe networks be imported?", "protobuf", "pip install 'active-convolution[caffe]'"
        ),
    ]
    return verdicts


def _acu() -> Verdict:
    try:
        return Verdict("Which acu?", "ok", f"acu {metadata.version('active-convolution')}")
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


def _optional(modules: str, question: str, distribution: str, advice: str) -> Verdict:
    """The verdict on an optional package; `modules` are those to import, the last one the distribution's."""
    loaded = [_import(module) for module in modules.split()]
    if any(isinstance(module, Exception) for module in loaded):
        return Verdict(question, "note", f"not without {distribution}: {advice}")
    try:
        return Verdict(question, "ok", f"yes, {distribution} {metadata.version(distribution)}")
    except metadata.PackageNotFoundError:
        return Verdict(question, "ok", "yes")


def _import(name: str) -> Any:
    """The module, or the exception that importing it raised: a broken one may raise anything."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        return error


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
