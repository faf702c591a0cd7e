"""Write the files from which images are built, and build one if a builder is available.

Examples:
  python containers/make.py              writes containers/Dockerfile and containers/orbit.def
  python containers/make.py build=true   makes the wheel, then an image, if there is a builder

Both files, and the script that runs the same steps in an empty root directory
(`containers/in_empty_root.sh`), come from the one list `STEPS`. Keys: build.
"""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
SUITE = "bookworm"
BASE = f"debian:{SUITE}-slim"
GENERATED = "# Written by containers/make.py from its list of steps: change them there."


@dataclass(frozen=True)
class Step:
    """`run` is executed in the image; the files in `copy` are first copied there from the
    repository."""

    about: str
    run: str = ""
    copy: tuple[str, str] | None = None


SEARCHED = "/opt/orbit/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": SEARCHED, "PYTHONNOUSERSITE": "1"}
STEPS = (
    Step(
        "Python with its headers, and a compiler for torch.compile",
        "apt-get update && apt-get install -y --no-install-recommends"
        " ca-certificates g++ python3-dev python3-venv"
        " && rm -rf /var/lib/apt/lists/*",
    ),
    Step(
        "Orbit as a wheel, made by: python -m pip wheel --no-deps -w build/wheel .",
        copy=("build/wheel", "/opt/wheel"),
    ),
    Step(
        "An environment of its own; TORCH may name another build of torch and its index",
        "python3 -m venv /opt/orbit"
        ' && { [ -z "$TORCH" ] || /opt/orbit/bin/pip install --no-cache-dir $TORCH; }'
        " && /opt/orbit/bin/pip install --no-cache-dir"
        ' "$(echo /opt/wheel/*.whl)[report,optuna,volumes]"',
    ),
    Step("The build of DALI that belongs to that torch", "orbit fit-dali"),
    Step("Everything can be imported", "orbit --version && orbit train --help > /dev/null"),
)


def dockerfile(steps: Sequence[Step]) -> str:
    """For docker build and podman build, from the repository."""
    lines = [GENERATED, f"FROM {BASE}", "ARG TORCH="]
    lines += [f"ENV {name}={value}" for name, value in ENVIRONMENT.items()]
    for step in steps:
        lines += ["", f"# {step.about}"]
        if step.copy:
            lines.append(f"COPY {step.copy[0]} {step.copy[1]}")
        if step.run:
            lines.append(f"RUN {step.run}")
    return "\n".join([*lines, "", 'ENTRYPOINT ["orbit"]', ""])


def apptainer(steps: Sequence[Step]) -> str:
    """For apptainer build, from the repository."""
    lines = [GENERATED, "Bootstrap: docker", f"From: {BASE}", "", "%files"]
    lines += [f"    {step.copy[0]} {step.copy[1]}" for step in steps if step.copy]
    lines += ["", "%environment"]
    lines += [f"    export {name}={value}" for name, value in ENVIRONMENT.items()]
    lines += ["", "%post", "    set -e"]
    lines += [f"    export {name}={value}" for name, value in ENVIRONMENT.items()]
    for step in steps:
        if step.run:
            lines += [f"    # {step.about}", f"    {step.run}"]
    return "\n".join([*lines, "", "%runscript", '    exec orbit "$@"', ""])


def empty_root(steps: Sequence[Step]) -> str:
    """A script that makes a bare system in a directory and runs the steps inside it."""
    lines = [
        "#!/bin/bash",
        GENERATED,
        "# Runs the steps in an empty root directory, without any builder of images:",
        "#   sudo BIND='/etc/pip.conf' containers/in_empty_root.sh DIRECTORY [MIRROR]",
        "# BIND names files and folders of this system that are to be seen inside, such as those",
        "# of a package index of one's own. Needs root and debootstrap.",
        "set -euo pipefail",
        'root=$(realpath -m "$1")',
        'if [ -n "$(ls -A "$root" 2>/dev/null)" ]; then echo "$root is not empty"; exit 1; fi',
        f'debootstrap --variant=minbase {SUITE} "$root" ${{2:+"$2"}}',
        "mounted=()",
        "stays() {",
        '    echo "$1 is still mounted: unmount it before anything below $root is deleted" >&2',
        "}",
        # What is mounted below this system's /dev and /sys came along.
        "end() {",
        '    for one in "${mounted[@]}"; do umount --recursive "$one" || stays "$one"; done',
        "}",
        "trap end EXIT",
        "for one in /dev /proc /sys ${BIND:-}; do",
        '    if [ -d "$one" ]; then mkdir -p "$root$one"',
        '    else mkdir -p "$(dirname "$root$one")"; touch "$root$one"; fi',
        '    mount --rbind "$one" "$root$one"',
        # Otherwise unmounting would reach this system's own folders.
        '    mount --make-rslave "$root$one" || { stays "$root$one"; exit 1; }',
        '    mounted=("$root$one" "${mounted[@]}")',
        "done",
        'cp -L /etc/resolv.conf "$root/etc/resolv.conf"',
        "inside() {",
        # The path inside is not that of this system, where `chroot` lies in another folder.
        '    chroot "$root" /usr/bin/env -i HOME=/root TORCH="${TORCH:-}" '
        + " ".join(f"{name}={shlex.quote(value)}" for name, value in ENVIRONMENT.items())
        + ' /bin/bash -euc "$1"',
        "}",
    ]
    for step in steps:
        lines += ["", f"echo {shlex.quote(f'== {step.about}')}"]
        if step.copy:
            source, place = step.copy[0], f'"$root{step.copy[1]}"'
            lines.append(f"mkdir -p {place}; cp -r {source}/. {place}")
        if step.run:
            lines.append(f"inside {shlex.quote(step.run)}")
    return "\n".join([*lines, "", 'echo "all steps were run in $root"', ""])


FILES = {"Dockerfile": dockerfile, "orbit.def": apptainer, "in_empty_root.sh": empty_root}
DOCKER = ["build", "-f", "containers/Dockerfile", "-t", "orbit", "."]
BUILDERS = {
    "docker": (["docker", "info"], ["docker", *DOCKER]),
    "podman": (["podman", "info"], ["podman", *DOCKER]),
    "apptainer": (
        ["apptainer", "version"],
        ["apptainer", "build", "orbit.sif", "containers/orbit.def"],
    ),
}
"""The commands that check for a builder, and its build commands."""


def find_builder() -> str | None:
    """The first builder that answers; docker without its daemon does not."""
    for name, (question, _) in BUILDERS.items():
        if (
            shutil.which(name)
            and subprocess.run(question, capture_output=True, check=False).returncode == 0
        ):
            return name
    return None


def main(words: list[str]) -> int:
    if words not in ([], ["build=true"]):
        print(f"cannot use {' '.join(words)}; keys: build=true", file=sys.stderr)
        return 1
    for name, make in FILES.items():
        (HERE / name).write_text(make(STEPS))
    (HERE / "in_empty_root.sh").chmod(0o755)
    if not words:
        return 0
    builder = find_builder()
    if builder is None:
        print(f"image not built: none of {', '.join(BUILDERS)} is at hand here")
        return 0
    # With an earlier wheel beside it the image's step would name two.
    shutil.rmtree(REPOSITORY / "build/wheel", ignore_errors=True)
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", "build/wheel", "."]
    for command in (wheel, BUILDERS[builder][1]):
        print(shlex.join(command))
        if subprocess.run(command, cwd=REPOSITORY, check=False).returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
