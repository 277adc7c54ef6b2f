"""Facts to findings: every rule of the doctor, on facts of machines that are not here."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hang_guard import HANG_S, wait_until

from munit_edge.doctor import examine as doctor
from munit_edge.doctor.engine_cache import CacheFacts, look_at_cache
from munit_edge.doctor.examine import installed_packages
from munit_edge.doctor.findings import Finding, judge
from munit_edge.engines.probe import SUBJECTS, Answer, Facts, Subject
from munit_edge.system import child
from munit_edge.system.machine import JetsonFacts, Machine, PlatformFacts, PythonFacts
from munit_edge.system.nvidia_smi import SmiFacts, SmiGpu

H100 = SmiGpu(name="NVIDIA H100", driver="580.1", memory_mib=81559, compute_capability="9.0")
SERVER_DRIVER = Answer(
    subject="driver", installed=True, facts=Facts(version="13.0", gpus=("NVIDIA H100 (9.0)",))
)
CACHE = CacheFacts(folder="/home/u/.cache/munit-edge/engines")
ORIN = JetsonFacts(board="NVIDIA Jetson AGX Orin", l4t="36.4.3", jetpack="6.2")


def machine(
    *, smi: SmiFacts | None = None, jetson: JetsonFacts | None = None, processor: str = "x86_64"
) -> Machine:
    return Machine(
        python=PythonFacts(
            version="3.12.1", executable="/p", virtual_environment=True, system_packages=False
        ),
        platform=PlatformFacts(
            system="Linux", release="6", machine=processor, processor="CPU", num_cores=2
        ),
        jetson=jetson,
        smi=smi,
    )


def find(
    subject: str,
    *answers: Answer,
    on: Machine | None = None,
    packages: dict[str, str] | None = None,
    extras: dict[str, tuple[str, ...]] | None = None,
    cache: CacheFacts = CACHE,
) -> Finding | None:
    given: dict[Subject, Answer] = {s: Answer(subject=s, installed=False) for s in SUBJECTS}
    given.update({answer.subject: answer for answer in answers})
    all_of_them = judge(on or machine(), tuple(given.values()), packages or {}, extras or {}, cache)
    return next((finding for finding in all_of_them if finding.subject == subject), None)


def found(subject: str, *answers: Answer, **facts: object) -> Finding:
    finding = find(subject, *answers, **facts)  # type: ignore[arg-type]
    assert finding
    return finding


def works(subject: Subject, version: str = "1.0", **facts: object) -> Answer:
    return Answer(
        subject=subject,
        installed=True,
        facts=Facts(version=version, **facts),  # type: ignore[arg-type]
    )


def test_a_bare_machine_has_nothing_broken() -> None:
    given = tuple(Answer(subject=s, installed=False) for s in SUBJECTS)
    findings = list(judge(machine(), given, {}, {"train": ("torch",)}, CACHE))
    assert {f.status for f in findings} == {"ok", "missing"}
    assert found("GPU").detail == "no NVIDIA driver: the CPU is used"
    assert found("onnxruntime").fix == "run `pip install 'munit-edge[cpu]'`"
    assert found("tensorrt").fix == "needs an NVIDIA GPU"


def test_what_to_install_depends_on_the_machine() -> None:
    assert "munit-edge[gpu]" in found("onnxruntime", SERVER_DRIVER).fix
    assert found("tensorrt", SERVER_DRIVER).fix == "run `pip install 'munit-edge[trt]'`"
    jetson = machine(jetson=ORIN, processor="aarch64")
    assert "--system-site-packages" in found("tensorrt", on=jetson).fix
    assert "pip install tensorrt" not in found("tensorrt", on=jetson).fix
    assert "munit-edge[cpu]" in found("onnxruntime", on=jetson).fix
    assert found("JetPack", on=jetson).detail == "6.2 (Jetson Linux 36.4.3) on " + ORIN.board
    assert find("JetPack") is None


def test_gpu() -> None:
    both = found("GPU", SERVER_DRIVER, on=machine(smi=SmiFacts(gpus=(H100,))))
    assert both.status == "ok"
    assert both.detail == "NVIDIA H100 (9.0), driver 580.1, CUDA up to 13.0"
    assert found("GPU", SERVER_DRIVER).status == "ok"  # nvidia-smi is not needed


def test_a_driver_without_a_gpu_is_not_broken() -> None:
    finding = found("GPU", works("driver", "", gpu_fault="cuInit: error 100, no device"))
    assert (finding.status, "no device" in finding.detail) == ("missing", True)


def test_broken_drivers() -> None:
    fault = Answer(subject="driver", installed=True, fault="cuInit: error 803, mismatch")
    assert found("GPU", fault).status == "broken"
    assert "error 803, mismatch" in found("GPU", fault).detail
    seen_only = found("GPU", on=machine(smi=SmiFacts(gpus=(H100,))))
    assert seen_only.status == "broken"
    assert "libcuda.so.1 is missing" in seen_only.detail
    assert "NVIDIA_DRIVER_CAPABILITIES" in seen_only.fix


def test_a_gpu_without_a_driver() -> None:
    bare = machine().model_copy(update={"pci_gpus": 1})
    finding = found("GPU", on=bare)
    assert finding.status == "missing"
    assert "install NVIDIA's driver" in finding.fix
    silent = SmiFacts(fault="nvidia-smi ended with code 9: cannot communicate with the driver")
    assert found("GPU", on=machine(smi=silent)).status == "missing"  # only the tool is installed
    broken = found("GPU", on=bare.model_copy(update={"smi": silent}))
    assert (broken.status, broken.detail) == ("broken", silent.fault)


def test_a_backend_that_cannot_be_imported_is_broken_with_the_loaders_words() -> None:
    words = "ImportError: libnvdla_compiler.so: cannot open shared object file"
    answer = Answer(subject="tensorrt", installed=True, fault=words)
    on_jetson = found("tensorrt", answer, on=machine(jetson=ORIN))
    assert (on_jetson.status, words in on_jetson.detail) == ("broken", True)
    assert "--runtime nvidia" in on_jetson.fix
    assert "--force-reinstall tensorrt" in found("tensorrt", answer).fix


def test_a_backend_that_does_not_reach_a_gpu_is_broken_only_where_there_is_one() -> None:
    answer = works("torch", "2.13", cuda="13.0", gpu_fault="RuntimeError: no kernel image")
    assert found("torch", answer).status == "ok"
    broken = found("torch", answer, SERVER_DRIVER)
    assert broken.status == "broken"
    assert "RuntimeError: no kernel image" in broken.detail


def test_the_cpu_build_beside_a_gpu_works_and_names_the_other() -> None:
    answer = works("onnxruntime", "1.32", providers=("CPUExecutionProvider",))
    assert found("onnxruntime", answer).fix == ""
    beside = found("onnxruntime", answer, SERVER_DRIVER)
    assert (beside.status, beside.detail) == ("ok", "1.32; CPU")
    assert "munit-edge[gpu]" in beside.fix
    assert "build with CUDA" in found("torch", works("torch"), SERVER_DRIVER).fix
    assert found("torch", works("torch")).fix == ""


def test_both_wheels_of_onnxruntime() -> None:
    one = {"onnxruntime": "1.32.0"}
    assert find("onnxruntime wheels", packages=one) is None
    both = found("onnxruntime wheels", packages={**one, "onnxruntime-gpu": "1.31.1"})
    assert both.status == "broken"
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in both.fix


def test_two_cuda_majors() -> None:
    mixed = found(
        "CUDA",
        SERVER_DRIVER,
        works("cuda-bindings", "12.9", cuda="12.9"),
        packages={"tensorrt-cu13-libs": "11.4", "tensorrt-cu13-bindings": "11.4"},
    )
    assert mixed.status == "broken"
    assert mixed.detail.endswith("CUDA 12: cuda-bindings; CUDA 13: tensorrt-cu13")
    assert "CUDA 13, which the driver supports" in mixed.fix


def test_cuda_that_the_driver_is_too_old_for() -> None:
    old = works("driver", "12.4", gpus=("NVIDIA L4 (8.9)",))
    newer = works("torch", cuda="13.0", gpus=())
    assert found("CUDA", old, newer).status == "broken"
    assert found("CUDA", SERVER_DRIVER, newer).status == "ok"
    assert found("CUDA", newer).status == "ok"  # no driver, nothing to be too old
    assert find("CUDA", SERVER_DRIVER) is None


def test_extras() -> None:
    extras = {"export": ("torch", "onnx", "onnxscript")}
    packages = {"torch": "2", "onnx": "1"}
    finding = found("extra export", packages=packages, extras=extras)
    assert finding.status == "missing"
    assert finding.detail == "not installed: onnxscript"
    assert finding.fix == "run `pip install 'munit-edge[export]'`"
    packages["onnxscript"] = "0.7"
    assert found("extra export", packages=packages, extras=extras).status == "ok"


def test_one_of_the_extras_cpu_and_gpu_replaces_the_other() -> None:
    extras = {"cpu": ("onnxruntime",), "gpu": ("onnxruntime-gpu",)}
    gpu = found("extra gpu", SERVER_DRIVER, packages={"onnxruntime": "1"}, extras=extras)
    assert gpu.fix.startswith("run `pip uninstall -y onnxruntime` and then `pip install")
    cpu = found("extra cpu", packages={"onnxruntime-gpu": "1"}, extras=extras)
    assert (cpu.status, cpu.fix) == ("missing", "")
    assert "not needed" in cpu.detail


def test_extras_for_a_gpu_say_so_where_there_is_none() -> None:
    extras = {"trt": ("tensorrt",), "new": ("something",)}
    assert found("extra trt", extras=extras).fix == (
        "needs an NVIDIA GPU; with one, run `pip install 'munit-edge[trt]'`"
    )
    with_gpu = found("extra trt", SERVER_DRIVER, extras=extras)
    assert with_gpu.fix == "run `pip install 'munit-edge[trt]'`"
    assert found("extra new", extras=extras).fix == "run `pip install 'munit-edge[new]'`"


def test_packages_that_matter_are_listed() -> None:
    packages = installed_packages()
    assert {"numpy", "pillow", "pydantic", "torch", "onnx"} <= set(packages)
    assert "pluggy" not in packages, "no extra names it"


def test_plan_cache() -> None:
    assert found("engine cache").detail == "empty: /home/u/.cache/munit-edge/engines"
    full = CACHE.model_copy(update={"num_plans": 3, "num_bytes": 2_500_000})
    assert found("engine cache", cache=full).detail.startswith("3 engines, 2.5 MB: /home/u/")
    foreign = CACHE.model_copy(update={"fault": "it belongs to another user"})
    broken = found("engine cache", cache=foreign)
    assert (broken.status, "MUNIT_EDGE_CACHE" in broken.fix) == ("broken", True)


def test_looking_at_the_cache_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "engines"
    assert look_at_cache() == CacheFacts(folder=str(folder))
    assert not folder.exists()
    folder.mkdir(parents=True)
    (folder / "decoder_b.plan").write_bytes(b"12345")
    (folder / "decoder_b.json").write_bytes(b"{}")
    found_there = look_at_cache()
    assert (found_there.num_plans, found_there.num_bytes) == (1, 5)


def test_a_cache_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(tmp_path))
    (tmp_path / "engines").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert look_at_cache().fault == "it belongs to another user"


def test_ctrl_c_waits_for_no_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backend_that_hangs.py").write_text(
        "import pathlib, time\n"
        "def answer(subject):\n"
        f"    (pathlib.Path({str(tmp_path)!r}) / f'{{subject}}.asked').touch()\n"
        "    time.sleep(600)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def ask(subject: Subject) -> Answer:
        child.call("backend_that_hangs.answer", subject, timeout_s=600)
        raise AssertionError("it hangs")

    def interrupted() -> Machine:
        wait_until(lambda: any(tmp_path.glob("*.asked")), "no backend is asked")
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "ask", ask)
    monkeypatch.setattr(doctor, "look_at_machine", interrupted)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        doctor.examine()
    assert time.monotonic() - begun < HANG_S
