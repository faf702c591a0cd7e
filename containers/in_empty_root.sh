#!/bin/bash
# Written by containers/make.py from its list of steps: change them there.
# Runs the steps in an empty root directory, without any builder of images:
#   sudo BIND='/etc/pip.conf' containers/in_empty_root.sh DIRECTORY [MIRROR]
# BIND names files and folders of this system that are to be seen inside, such as those
# of a package index of one's own. Needs root and debootstrap.
set -euo pipefail
root=$(realpath -m "$1")
if [ -n "$(ls -A "$root" 2>/dev/null)" ]; then echo "$root is not empty"; exit 1; fi
debootstrap --variant=minbase bookworm "$root" ${2:+"$2"}
mounted=()
stays() {
    echo "$1 is still mounted: unmount it before anything below $root is deleted" >&2
}
end() {
    for one in "${mounted[@]}"; do umount --recursive "$one" || stays "$one"; done
}
trap end EXIT
for one in /dev /proc /sys ${BIND:-}; do
    if [ -d "$one" ]; then mkdir -p "$root$one"
    else mkdir -p "$(dirname "$root$one")"; touch "$root$one"; fi
    mount --rbind "$one" "$root$one"
    mount --make-rslave "$root$one" || { stays "$root$one"; exit 1; }
    mounted=("$root$one" "${mounted[@]}")
done
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
inside() {
    chroot "$root" /usr/bin/env -i HOME=/root TORCH="${TORCH:-}" PATH=/opt/orbit/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONNOUSERSITE=1 /bin/bash -euc "$1"
}

echo '== Python with its headers, and a compiler for torch.compile'
inside 'apt-get update && apt-get install -y --no-install-recommends ca-certificates g++ python3-dev python3-venv && rm -rf /var/lib/apt/lists/*'

echo '== Orbit as a wheel, made by: python -m pip wheel --no-deps -w build/wheel .'
mkdir -p "$root/opt/wheel"; cp -r build/wheel/. "$root/opt/wheel"

echo '== An environment of its own; TORCH may name another build of torch and its index'
inside 'python3 -m venv /opt/orbit && { [ -z "$TORCH" ] || /opt/orbit/bin/pip install --no-cache-dir $TORCH; } && /opt/orbit/bin/pip install --no-cache-dir "$(echo /opt/wheel/*.whl)[report,optuna,volumes]"'

echo '== The build of DALI that belongs to that torch'
inside 'orbit fit-dali'

echo '== Everything can be imported'
inside 'orbit --version && orbit train --help > /dev/null'

echo "all steps were run in $root"
