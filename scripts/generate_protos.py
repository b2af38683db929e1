"""Generate client_sdk/ganserve/v1 from protos/; with --check, compare instead and fail on any difference."""

from __future__ import annotations

import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("ganserve/v1")
COMMITTED = ROOT / "client_sdk" / PACKAGE
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(out: Path) -> None:
    protos = sorted((ROOT / "protos" / PACKAGE).glob("*.proto"))
    # Find the plugins beside this interpreter, so that the environment need not be activated.
    tools = Path(sys.executable).parent
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={ROOT / 'protos'}",
            f"--plugin=protoc-gen-mypy={tools / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={tools / 'protoc-gen-mypy_grpc'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
            *map(str, protos),
        ],
        check=True,
    )
    # Services live in two files; grpcio-tools writes an empty stub module for each of the others.
    for proto in protos:
        if "\nservice " not in proto.read_text(encoding="utf-8"):
            for suffix in ("_pb2_grpc.py", "_pb2_grpc.pyi"):
                (out / PACKAGE / (proto.stem + suffix)).unlink(missing_ok=True)


def names(folder: Path) -> set[str]:
    return {path.name for pattern in GENERATED for path in folder.glob(pattern)}


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = Path(scratch) / PACKAGE
        if "--check" in sys.argv[1:]:
            everything = names(fresh) | names(COMMITTED)
            _, different, missing = filecmp.cmpfiles(fresh, COMMITTED, everything, shallow=False)
            stale = sorted([*different, *missing])
            if stale:
                print(f"generated code differs from protos/: {', '.join(stale)}\nfix: make protos", file=sys.stderr)
                return 1
            print(f"generated code is current ({len(everything)} files)")
            return 0
        for name in names(COMMITTED):
            (COMMITTED / name).unlink()
        for name in names(fresh):
            (COMMITTED / name).write_bytes((fresh / name).read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
