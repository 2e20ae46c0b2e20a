#!/usr/bin/env bash
# Build the image of one variant: docker/build.sh gpu|cpu [ARGUMENT OF THE ENGINE]...
# ENGINE is docker (with BuildKit) or podman. The last line is the image's name.
set -euo pipefail
cd "$(dirname "$0")/.."

variant="${1:?cpu or gpu}"
shift
engine="${ENGINE:-docker}"
version="$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)"
suffix=""
file=command.json
if [ "$variant" = cpu ]; then
    suffix=-cpu
    file=command-cpu.json
fi
name="${IMAGE:-brs}:$version$suffix"

# The label is the command file itself, as the list that XNAT expects.
commands='[]'
if [ -f "$file" ]; then
    commands="$(python3 -c 'import json, sys
print(json.dumps([json.load(open(sys.argv[1]))], separators=(",", ":")))' "$file")"
else
    echo "warning: no $file: the image carries no command for XNAT" >&2
fi

format=()
# Podman's own format has no health check.
[ "$engine" = podman ] && format=(--format docker)

"$engine" build "${format[@]}" --file docker/Dockerfile --tag "$name" \
    --build-arg VARIANT="$variant" \
    --build-arg VERSION="$version" \
    --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    --build-arg CREATED="$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    --build-arg COMMANDS="$commands" \
    "$@" . >&2
echo "$name"
