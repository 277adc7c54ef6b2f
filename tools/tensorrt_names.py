"""Write tests/golden/tensorrt_names.json: which names the real TensorRT bindings have.

    python tools/tensorrt_names.py [-o FILE]

Downloads the bindings of every version below (some megabytes each, without the libraries), imports
each in a process of its own and notes the names of the classes that our code may use. The libraries
are replaced by empty ones that the linker is content with: nothing is built or run, only looked at.
Needs pip, gcc, nm and readelf, and a Python that all the wheels exist for (3.10 to 3.12).

Only names are kept. tests/engines/test_tensorrt_names.py compares the code with them. A class that
is new in the code goes into CLASSES.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "tensorrt_names.json"
BINDINGS = {  # label -> (package, version, module)
    "tensorrt 10.3.0": ("tensorrt-cu12-bindings", "10.3.0", "tensorrt_bindings"),
    "tensorrt 10.13.3.9": ("tensorrt-cu13-bindings", "10.13.3.9", "tensorrt_bindings"),
    "tensorrt 11.4.0.106": ("tensorrt-cu13-bindings", "11.4.0.106", "tensorrt_bindings"),
    "tensorrt-lean 11.4.0.106": (
        "tensorrt-lean-cu13-bindings",
        "11.4.0.106",
        "tensorrt_lean_bindings",
    ),
    "tensorrt-rtx 1.7.1.116": (
        "tensorrt-rtx-cu13-bindings",
        "1.7.1.116",
        "tensorrt_rtx_bindings",
    ),
}
CLASSES = (
    *("Builder", "BuilderFlag", "ComputeCapability", "DataType"),
    *("ExecutionContextAllocationStrategy", "HardwareCompatibilityLevel", "IBuilderConfig"),
    *("ICudaEngine", "IExecutionContext", "IHostMemory", "ILogger", "INetworkDefinition"),
    *("IOptimizationProfile", "IProgressMonitor", "IRuntimeConfig", "ITensor", "ITimingCache"),
    *("Logger", "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser", "ParserError"),
    *("Runtime", "TensorFormat", "TensorIOMode", "TensorLocation"),
)
# Symbols of the libraries for which "nothing" would be read as a failure when importing.
TRUE_FUNCTIONS = {"initLibNvInferPlugins"}

LIST_NAMES = """
import importlib, json, sys

module = importlib.import_module(sys.argv[1])
names = [name for name in dir(module) if not name.startswith("_")]
for owner in sys.argv[2:]:
    if found := getattr(module, owner, None):
        names += [f"{owner}.{name}" for name in dir(found) if not name.startswith("_")]
print(json.dumps(names))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=GOLDEN, help="file to write")
    output = parser.parse_args().output
    found = {}
    for label, (package, version, module) in BINDINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[label] = _names(Path(folder), package, version, module)
        print(f"{label}: {len(found[label])} names", flush=True)
    table: dict[str, dict[str, list[str]]] = {}
    for label, names in found.items():
        for name in names:
            owner, _, member = name.partition(".")
            table.setdefault(owner, {}).setdefault(member, []).append(label)
    labels = list(BINDINGS)
    compact = {
        owner: {
            member: "".join("x" if label in where else "-" for label in labels)
            for member, where in sorted(members.items())
        }
        for owner, members in sorted(table.items())
    }
    data = {"bindings": labels, "names": compact}
    output.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {output}")
    return 0


def _names(folder: Path, package: str, version: str, module: str) -> list[str]:
    """Public names of a binding's module, and of its classes as "Class.name"."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    download += ["--disable-pip-version-check", "--only-binary=:all:", "-d", str(folder)]
    subprocess.run([*download, f"{package}=={version}"], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    libraries = folder / "libraries"
    _make_libraries(next((folder / module).glob("*.so")), libraries)
    done = subprocess.run(
        [sys.executable, "-c", LIST_NAMES, module, *CLASSES],
        env={**os.environ, "PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(libraries)},
        stdout=subprocess.PIPE,
        check=True,
    )
    names: list[str] = json.loads(done.stdout)
    return names


def _make_libraries(extension: Path, folder: Path) -> None:
    """Libraries under the names that `extension` asks for; the first has all its functions."""
    folder.mkdir()
    dynamic = _output("readelf", "-d", str(extension))
    needed = [line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "NEEDED" in line]
    vendors = [name for name in needed if name.startswith(("libnv", "libtensorrt"))]
    symbols = [
        line.split()[-1]
        for line in _output("nm", "-D", "--undefined-only", str(extension)).splitlines()
        if line.split()[0] == "U"
    ]
    # What has a version belongs to the system, what starts otherwise to Python or C++.
    ours = [s for s in symbols if "@" not in s and not s.startswith(("Py", "_Py", "_Z", "__"))]
    code = "".join(
        f"long {name}(void) {{ return {int(name in TRUE_FUNCTIONS)}; }}\n" for name in sorted(ours)
    )
    for index, name in enumerate(vendors):
        source = folder / f"{index}.c"
        source.write_text(code if index == 0 else "int empty;\n")
        command = ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{name}", "-o"]
        subprocess.run([*command, str(folder / name), str(source)], check=True)


def _output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    raise SystemExit(main())
