#!/usr/bin/env bash
# Make what a machine without Docker Hub or PyTorch's index lacks: docker/stand-ins/make.sh
#   base FOLDER          a Debian with Python as localhost/brs-base, in podman's storage
#   torch FOLDER WHEELS  CPU wheels of torch (from the folder WHEELS) and torchvision
# For trials only: an image for use is built on the pinned base, from PyTorch's index.
set -euo pipefail
here="$(dirname "$(readlink -f "$0")")"

make_base() {
    local tar="$1/base.tar"
    if [ ! -f "$tar" ]; then
        # As the real base: pip may install, and python is python3.
        # shellcheck disable=SC2016  # $1 is the hook's, not ours
        mmdebstrap --quiet --format=tar --variant=minbase \
            --include=python3,python3-venv,python3-pip,ca-certificates \
            --customize-hook='rm "$1"/usr/lib/python3*/EXTERNALLY-MANAGED' \
            --customize-hook='ln -s python3 "$1"/usr/bin/python' \
            bookworm "$tar.part"
        mv "$tar.part" "$tar"
    fi
    # Another import would be another base, and every layer would be built again.
    podman image exists localhost/brs-base:latest \
        || podman import --quiet "$tar" localhost/brs-base:latest >/dev/null
}

make_torch() {
    local folder="$1" torch minor
    torch="$(find "$2" -name 'torch-*+cpu-cp311-*x86_64.whl' | sort -V | tail -1)"
    [ -n "$torch" ] || { echo "no CPU wheel of torch in $2" >&2; return 1; }
    cp --update "$torch" "$folder"
    # torchvision 0.(N+15) is made for torch 2.N.
    minor="$(basename "$torch" | sed 's/^torch-2\.\([0-9]*\)\..*/\1/')"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 \
        --platform manylinux_2_28_x86_64 --dest "$folder/pypi" "torchvision==0.$((minor + 15)).0"
    python3 "$here/torchvision_without_cuda.py" "$folder"/pypi/torchvision-*.whl "$folder"
}

mkdir -p "$2"
case "$1" in
    base) make_base "$2" ;;
    torch) make_torch "$2" "$3" ;;
    *) sed -n '2,5p' "$0" >&2; exit 2 ;;
esac
