#!/usr/bin/env bash
# Build the image and run it as a guarded site would: docker/image-test.sh [OPTION]...
#   --variant cpu|gpu   which image (cpu)
#   --work FOLDER       where everything lies; made anew and removed when not given
#   --keep              leave the image and the folder
#   --no-stand-ins      fail where Docker Hub or PyTorch's index cannot be reached
# Needs root, podman, runc and PYTHON (.venv/bin/python); with stand-ins mmdebstrap, and
# for cpu a CPU wheel of torch in WHEELS (pip's find-links folder when not given).
# Nothing is left in podman's own storage.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

# Read whole before it starts, and left without reading on: the file may change while an
# image is built.
main() {
    variant=cpu keep=false stand_ins=true work=""
    while [ $# -gt 0 ]; do
        case "$1" in
            --variant) variant="$2"; shift 2 ;;
            --work) work="$2"; keep=true; shift 2 ;;
            --keep) keep=true; shift ;;
            --no-stand-ins) stand_ins=false; shift ;;
            *) sed -n '2,9p' "$0" >&2; exit 2 ;;
        esac
    done

    # shellcheck source=docker/image-test/steps.sh
    . docker/image-test/steps.sh

    prepare_work
    trap clean_up EXIT
    choose_sources

    timed "build, $variant" build_image
    timed "what the image says of itself" check_image
    timed "every file is readable by any uid" check_readable
    timed "brs --version" check_version
    timed "the package is the tree's" check_package
    timed "trial session and weights" make_trial
    timed "the default checkpoint" check_default_weights
    timed "brs segment, guarded" segment_guarded
    timed "brs segment, root file system writable" segment_open
    timed "two launches from XNAT's menu, on the stand-in server" launch
    timed "a GPU that is not there" check_no_gpu
    timed "health check" check_health
    report
}

main "$@"; exit
