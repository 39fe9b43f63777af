"""A pip that installs small made-up packages from a lock file, or fails in one of pip's ways. The first argument is how; the rest is pip's."""

import sys
from pathlib import Path

FAILURES = {
    "offline": "WARNING: Retrying ... NewConnectionError('...: Failed to establish a new connection')\n"
               "ERROR: Could not find a version that satisfies the requirement alpha==1.0 (from versions: none)",
    "hash": "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
    "full": "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    "build": "  error: subprocess-exited-with-error\n  ERROR: Failed building wheel for alpha",
    "other": "ERROR: something nobody thought of",
}


def install(site: Path, lock: Path, limit: int) -> None:
    """Packages of two files each; stops dead, as a killed process does, after `limit` of them."""
    for count, line in enumerate(line for line in lock.read_text().splitlines() if "==" in line):
        if "win32" in line:
            print(f"Ignoring {line.split('=')[0]}: markers do not match your environment")
            continue
        name, version = line.split()[0].split("==")
        print(f"Collecting {name}=={version} (from -r {lock})", flush=True)
        if count >= limit:
            sys.exit(9)
        info = site / f"{name}-{version}.dist-info"
        (site / name).mkdir(exist_ok=True)
        info.mkdir(exist_ok=True)
        (site / name / "__init__.py").write_text(f"version = {version!r}\n")
        size = (site / name / "__init__.py").stat().st_size
        (info / "RECORD").write_text(f"{name}/__init__.py,sha256=x,{size}\n{info.name}/RECORD,,\n")
    print("Installing collected packages: all", flush=True)


if __name__ == "__main__":
    how, lock = sys.argv[1], Path(sys.argv[-1])
    assert "--require-hashes" in sys.argv
    with (lock.parent / "pip-calls").open("a") as calls:
        calls.write(how + "\n")
    if how in FAILURES:
        print(FAILURES[how])
        sys.exit(1)
    install(Path(sys.prefix) / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages", lock, 1 if how == "killed" else 99)
