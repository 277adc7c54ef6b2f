"""What the facts about this machine mean: what works, what is missing or broken, and the fix.

Nothing is looked at here, so every rule can be tested with the facts of other machines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from munit_edge.doctor.engine_cache import CacheFacts
from munit_edge.engines.probe import SUBJECTS, Answer, Subject
from munit_edge.engines.table import ENGINE_FACTS, EngineFacts
from munit_edge.settings import StrictModel
from munit_edge.system.machine import Machine

Status = Literal["ok", "missing", "broken"]

_BOTH_WHEELS_FIX = (
    "run `pip uninstall -y onnxruntime onnxruntime-gpu` and then `pip install 'munit-edge[cpu]'` "
    "or, for an NVIDIA GPU, `pip install 'munit-edge[gpu]'`"
)
_DRIVER_FIX = (
    "run `nvidia-smi`: if it fails too, reinstall the driver and restart; in a container pass "
    "`--gpus all` (on a Jetson `--runtime nvidia`)"
)
_GPU_FIX = (
    "install the build for the driver's CUDA (see the row GPU); `--device cpu` works without it"
)


class Finding(StrictModel):
    """One thing that was looked at."""

    subject: str
    """What, such as "torch" or "extra export"."""
    status: Status
    """`missing`: optional, and not a fault; `broken`: installed, and does not work."""
    detail: str
    """What was found."""
    fix: str = ""
    """How to fix it; "" if nothing has to be done."""


def judge(
    machine: Machine,
    answers: tuple[Answer, ...],
    packages: Mapping[str, str],
    extras: Mapping[str, tuple[str, ...]],
    cache: CacheFacts,
) -> Iterator[Finding]:
    """What the facts mean, in the order in which they are shown.

    Args:
        machine: what is known without a backend.
        answers: what the driver and the backends report, one for each of `SUBJECTS`.
        packages: installed distributions and their versions.
        extras: distributions of each extra to look for.
        cache: the cache of engines.
    """
    by_subject = {answer.subject: answer for answer in answers}
    has_gpu = bool(_gpus(machine, by_subject["driver"]))
    yield from _machine(machine)
    yield _gpu(machine, by_subject["driver"])
    for subject in SUBJECTS:
        if subject != "driver":
            yield _backend(by_subject[subject], machine, has_gpu=has_gpu, packages=packages)
    if {"onnxruntime", "onnxruntime-gpu"} <= set(packages):
        yield Finding(
            subject="onnxruntime wheels",
            status="broken",
            detail="both onnxruntime and onnxruntime-gpu are installed and overwrite each other",
            fix=_BOTH_WHEELS_FIX,
        )
    yield from _cuda(by_subject, packages)
    for extra, names in extras.items():
        yield _extra(extra, names, packages, has_gpu=has_gpu)
    yield _cache(cache)


def _machine(machine: Machine) -> Iterator[Finding]:
    python, system, jetson = machine.python, machine.platform, machine.jetson
    where = "in a virtual environment" if python.virtual_environment else "of the system"
    if python.virtual_environment and python.system_packages:
        where += " with access to the system's packages"
    yield Finding(
        subject="Python", status="ok", detail=f"{python.version} {where}: {python.executable}"
    )
    processor = f"{system.processor or system.machine}, {system.num_cores} cores"
    yield Finding(
        subject="platform",
        status="ok",
        detail=f"{system.system} {system.release} {system.machine}; {processor}",
    )
    if jetson:
        board, release = jetson.board or "a Jetson", jetson.jetpack or "of unknown release"
        linux = f" (Jetson Linux {jetson.l4t})" if jetson.l4t else ""
        yield Finding(subject="JetPack", status="ok", detail=f"{release}{linux} on {board}")


def _gpus(machine: Machine, driver: Answer) -> tuple[str, ...]:
    if driver.facts and driver.facts.gpus:
        return driver.facts.gpus
    return tuple(gpu.name for gpu in machine.smi.gpus) if machine.smi else ()


def _gpu(machine: Machine, driver: Answer) -> Finding:
    smi = machine.smi
    version = f", driver {smi.gpus[0].driver}" if smi and smi.gpus else ""
    # CUDA itself sees a GPU: nothing else matters.
    if driver.facts and driver.facts.gpus:
        newest = f"CUDA up to {driver.facts.version}"
        detail = f"{'; '.join(driver.facts.gpus)}{version}, {newest}"
        return Finding(subject="GPU", status="ok", detail=detail)
    # A driver without CUDA: typically a container without the capability "compute".
    if smi and smi.gpus:
        names = "; ".join(gpu.name for gpu in smi.gpus)
        reason = driver.fault or (driver.facts and driver.facts.gpu_fault)
        detail = f"nvidia-smi shows {names}{version}, but CUDA cannot use it: " + (
            reason or "the driver's library libcuda.so.1 is missing"
        )
        fix = f"{_DRIVER_FIX}, with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        return Finding(subject="GPU", status="broken", detail=detail, fix=fix)
    # `nvidia-smi` alone, such as from a container's image, is no fault.
    there = driver.installed or bool(machine.pci_gpus)
    reason = driver.fault or (smi.fault if smi and there else None)
    if reason:
        return Finding(subject="GPU", status="broken", detail=reason, fix=_DRIVER_FIX)
    fix = ""
    if driver.facts and driver.facts.gpu_fault:
        detail = f"a driver without a GPU ({driver.facts.gpu_fault}): the CPU is used"
    else:
        detail = "no NVIDIA driver: the CPU is used"
        if machine.pci_gpus:
            fix = "this machine has an NVIDIA GPU: install NVIDIA's driver to use it"
    return Finding(subject="GPU", status="missing", detail=detail, fix=fix)


def _backend(
    answer: Answer, machine: Machine, *, has_gpu: bool, packages: Mapping[str, str]
) -> Finding:
    subject, facts = answer.subject, answer.facts
    # Not installed, installed and broken, or working: in this order.
    if facts is None and not answer.installed:
        fix, detail = _install(subject, machine, has_gpu=has_gpu), "not installed"
        if subject == "tensorrt" and (lean := _version("tensorrt-lean", packages)):
            detail += (
                f", but its lean runtime {lean}is, for engines built with --version-compatible"
            )
        return Finding(subject=subject, status="missing", detail=detail, fix=fix)
    if facts is None:
        version = _version(subject, packages)
        detail = f"{version}installed, but cannot be used: {answer.fault or 'no reason was given'}"
        fix = _reinstall(subject, machine)
        return Finding(subject=subject, status="broken", detail=detail, fix=fix)
    parts = [facts.version]
    if facts.cuda:
        parts.append(f"built for CUDA {facts.cuda}")
    if facts.providers:
        parts.append(", ".join(name.removesuffix("ExecutionProvider") for name in facts.providers))
    if facts.gpus:
        parts.append(f"uses {', '.join(facts.gpus)}")
    if facts.gpu_fault and has_gpu:
        detail = "; ".join([*parts, f"cannot use the GPU: {facts.gpu_fault}"])
        engine = _engine(subject)
        fix = (engine and engine.gpu_fix) or _GPU_FIX
        return Finding(subject=subject, status="broken", detail=detail, fix=fix)
    if facts.gpu_fault:
        parts.append("no usable GPU")
    fix = ""
    if subject == "onnxruntime" and has_gpu and "CUDAExecutionProvider" not in facts.providers:
        fix = _for_the_gpu(machine)
    elif subject == "torch" and has_gpu and not facts.cuda:
        fix = "this build runs on the CPU only; for the GPU install torch's build with CUDA"
    return Finding(subject=subject, status="ok", detail="; ".join(parts), fix=fix)


def _version(subject: str, packages: Mapping[str, str]) -> str:
    for name, version in packages.items():
        if name == subject or name.startswith(f"{subject}-"):
            return f"{version} "
    return ""


def _install(subject: Subject, machine: Machine, *, has_gpu: bool) -> str:
    """How to install a backend on this machine."""
    engine = _engine(subject)
    needs_gpu = engine is None or ("cpu" not in engine.devices and not engine.builds_without_gpu)
    if machine.jetson and engine and engine.install_on_jetson:
        return engine.install_on_jetson
    if needs_gpu and not has_gpu:
        return "needs an NVIDIA GPU"
    if engine is None:
        return ENGINE_FACTS["tensorrt"].install  # its extra brings cuda-bindings
    if has_gpu and machine.platform.machine == "x86_64" and engine.install_for_gpu:
        return engine.install_for_gpu
    return f"{engine.purpose}: {engine.install}".removeprefix(": ")


def _engine(subject: Subject) -> EngineFacts | None:
    """The row of an engine; None for what is none."""
    return next((facts for name, facts in ENGINE_FACTS.items() if name == subject), None)


def _for_the_gpu(machine: Machine) -> str:
    if machine.platform.machine != "x86_64":
        return "this build runs on the CPU only; for the GPU use TensorRT"
    return (
        "this build runs on the CPU only; for the GPU run `pip uninstall -y onnxruntime` and then "
        "`pip install 'munit-edge[gpu]'`"
    )


def _reinstall(subject: Subject, machine: Machine) -> str:
    if subject == "tensorrt" and machine.jetson:
        return (
            "the loader names the missing library: in a container use NVIDIA's image for this "
            "JetPack and start it with `--runtime nvidia`; otherwise "
            f"{ENGINE_FACTS[subject].install_on_jetson}"
        )
    return (
        "install what the message names, or reinstall the package: "
        f"`pip install --force-reinstall {subject}`"
    )


def _cuda(by_subject: Mapping[Subject, Answer], packages: Mapping[str, str]) -> Iterator[Finding]:
    """Two CUDA majors in one environment, or one that the driver is too old for."""
    majors = _cuda_majors(by_subject, packages)
    used = "; ".join(
        f"CUDA {major}: " + ", ".join(name for name in majors if majors[name] == major)
        for major in sorted(set(majors.values()))
    )
    driver = by_subject["driver"].facts
    newest = int(driver.version.partition(".")[0]) if driver and driver.version else None
    if len(set(majors.values())) > 1:
        wanted = f"CUDA {newest}, which the driver supports" if newest else "one CUDA release"
        yield Finding(
            subject="CUDA",
            status="broken",
            detail=f"packages for two CUDA releases in one environment: {used}",
            fix=f"create a new environment with packages for {wanted} only",
        )
    elif newest is not None and any(major > newest for major in majors.values()):
        yield Finding(
            subject="CUDA",
            status="broken",
            detail=f"installed for {used}, but the driver supports CUDA up to {newest} only",
            fix=f"install a newer driver, or packages for CUDA {newest}",
        )
    elif majors:
        yield Finding(subject="CUDA", status="ok", detail=used)


def _cuda_majors(
    by_subject: Mapping[Subject, Answer], packages: Mapping[str, str]
) -> dict[str, int]:
    """The CUDA major of every installed package that has one."""
    majors = {}
    for subject in ("onnxruntime", "torch", "cuda-bindings"):
        facts = by_subject[subject].facts
        if facts and facts.cuda:
            majors[subject] = int(facts.cuda.partition(".")[0])
    for name in packages:
        # Such as "tensorrt-cu13-libs" or "nvidia-cudnn-cu12".
        match = re.fullmatch(r"((?:tensorrt|nvidia-cudnn).*-cu(\d\d)).*", name)
        if match:
            majors[match[1]] = int(match[2])
    return majors


def _extra(
    extra: str, names: Sequence[str], packages: Mapping[str, str], *, has_gpu: bool
) -> Finding:
    subject = f"extra {extra}"
    absent = [name for name in names if name not in packages]
    if not absent:
        return Finding(subject=subject, status="ok", detail="installed")
    detail = f"not installed: {', '.join(absent)}"
    if extra == "cpu" and "onnxruntime-gpu" in packages:
        detail, fix = "not needed: the installed extra gpu also runs on the CPU", ""
    elif extra == "gpu" and "onnxruntime" in packages:
        fix = "run `pip uninstall -y onnxruntime` and then `pip install 'munit-edge[gpu]'`"
    else:
        fix = f"run `pip install 'munit-edge[{extra}]'`"
    if extra in ("gpu", "trt") and not has_gpu:
        fix = f"needs an NVIDIA GPU; with one, {fix}"
    return Finding(subject=subject, status="missing", detail=detail, fix=fix)


def _cache(cache: CacheFacts) -> Finding:
    if cache.fault:
        return Finding(
            subject="engine cache",
            status="broken",
            detail=f"{cache.folder}: {cache.fault}".removeprefix(": "),
            fix="set $MUNIT_EDGE_CACHE to a folder of your own",
        )
    held = (
        f"{cache.num_plans} engines, {cache.num_bytes / 1e6:.1f} MB" if cache.num_plans else "empty"
    )
    return Finding(subject="engine cache", status="ok", detail=f"{held}: {cache.folder}")
