# shellcheck shell=bash
# The steps of docker/image-test.sh, in its order. Each ends the test when it fails.
# shellcheck disable=SC2154  # variant, work, keep and stand_ins are the caller's

readonly ANY_UID=34567
readonly python="${PYTHON:-.venv/bin/python}"
readonly REGISTRY=https://registry-1.docker.io/v2/
readonly CPU_INDEX=https://download.pytorch.org/whl/cpu/torch/
readonly RESULTS="mask.nii.gz preview.png result.json segmentation.dcm"
# As with Docker, the uid has no entry in /etc/passwd.
readonly STRANGER=(
    --user "$ANY_UID:$ANY_UID" --passwd=false --no-healthcheck
)
# shellcheck disable=SC2054  # the commas are --tmpfs's
readonly GUARDED=(
    "${STRANGER[@]}" --read-only --read-only-tmpfs=false
    --tmpfs /tmp:rw,size=64m,noexec,nosuid,nodev
    --cap-drop=ALL --security-opt no-new-privileges
    --memory 4g --pids-limit 256
)
# Runs a program and tells what it took: the processor's time is the same on a busy machine.
readonly WITH_USAGE='import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"took: {used.ru_maxrss >> 10} MiB resident at most,"
      f" {used.ru_utime + used.ru_stime:.1f} s of processor time", file=sys.stderr)
sys.exit(code)'
times=()
checkpoint=()
base=""
build_args=()

say() { echo "== $*" >&2; }
fail() { echo "FAILED: $*" >&2; exit 1; }

timed() { # NAME COMMAND...
    local name="$1" start end
    shift
    say "$name"
    start="$(date +%s.%N)"
    "$@"
    end="$(date +%s.%N)"
    times+=("$(LC_ALL=C awk -v a="$start" -v b="$end" -v n="$name" \
        'BEGIN { printf "%8.1f s  %s", b - a, n }')")
}

need() { # PROGRAM DEBIAN_PACKAGE
    command -v "$1" >/dev/null || fail "$1 is missing: apt-get install $2"
}

prepare_work() {
    need podman "podman runc"
    need curl curl
    need "$python" "nothing; make setup, or PYTHON=... with the test dependencies"
    work="${work:-$(mktemp -d /var/tmp/brs-image.XXXXXX)}"
    rm -rf "$work"/{trial,guarded,open,default}
    mkdir -p "$work"/{storage,run,wheels,trial,guarded,open,default}
    # Storage of its own, so that removing the folder removes every layer.
    printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "%s"\n' \
        "$work/storage" "$work/run" >"$work/storage.conf"
    # Hosts that are containers themselves cannot raise limits, and crun wants cgroups 2.
    {
        printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
        if command -v runc >/dev/null; then printf '[engine]\nruntime = "runc"\n'; fi
        if [ -x /usr/lib/podman/netavark ]; then
            printf '[network]\nnetwork_backend = "netavark"\n'
        fi
    } >"$work/containers.conf"
    export CONTAINERS_STORAGE_CONF="$work/storage.conf"
    export CONTAINERS_CONF="$work/containers.conf"
}

clean_up() {
    podman container ls --all --quiet | xargs -r podman rm --force >/dev/null 2>&1 || true
    if $keep; then
        say "kept: $work"
    else
        podman image rm --all --force >/dev/null 2>&1 || true
        rm -rf "$work"
    fi
}

reachable() { curl --silent --output /dev/null --max-time 20 "$1"; }

choose_sources() {
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$work/pip.conf"
    build_args=(
        --volume /etc/ssl/certs:/etc/ssl/certs:ro
        --volume "$work/pip.conf:/etc/pip.conf:ro"
        --volume "$work/wheels:/wheels:ro"
    )
    base="the pinned base"
    if ! reachable "$REGISTRY"; then
        $stand_ins || fail "Docker Hub cannot be reached"
        need mmdebstrap mmdebstrap
        base="STAND-IN base (Debian's Python; Docker Hub cannot be reached)"
        timed "stand-in base" docker/stand-ins/make.sh base "$work"
        build_args+=(--pull=never --build-arg BASE=localhost/brs-base:latest)
    fi
    if [ "$variant" = cpu ] && ! reachable "$CPU_INDEX"; then
        $stand_ins || fail "PyTorch's index cannot be reached"
        base+=", STAND-IN torchvision (PyTorch's index cannot be reached)"
        stand_in_torch
    fi
}

stand_in_torch() {
    local wheels="${WHEELS:-$(python3 -m pip config get global.find-links)}"
    timed "stand-in torch wheels" docker/stand-ins/make.sh torch "$work/wheels" "$wheels"
    echo 'find-links = /wheels' >>"$work/pip.conf"
    build_args+=(
        --build-arg CPU_INDEX=https://pypi.org/simple
        --build-arg TORCH="$(wheel_version torch)"
        --build-arg TORCHVISION="$(wheel_version torchvision)"
    )
}

wheel_version() { # NAME
    basename "$work/wheels/$1"-*+cpu-*.whl | sed 's/^[^-]*-\([^+]*\)+.*/\1/'
}

build_image() {
    image="localhost/$(ENGINE=podman docker/build.sh "$variant" --isolation chroot \
        "${build_args[@]}" 2>"$work/build.log" | tail -1)" \
        || { tail -30 "$work/build.log" >&2; fail "the build; see above"; }
    tag="${image##*:}"
}

inspect() { podman image inspect --format "$1" "$image"; }

guarded() { # ARGUMENT OF PODMAN... IMAGE COMMAND...
    podman run --rm "${GUARDED[@]}" --network none "$@"
}

check_image() {
    [ "$(inspect '{{.Config.User}}')" = 10001:10001 ] || fail "the user"
    [ "$(inspect '{{len .Config.Entrypoint}}')" = 0 ] || fail "an entry point"
    [ "$(inspect '{{json .Config.Cmd}}')" = '["brs","--help"]' ] || fail "the command"
    inspect '{{json .Config.Labels}}' >"$work/labels.json"
    guarded --volume "$work/labels.json:/labels.json:ro" "$image" python -c '
import json, importlib.metadata as m
labels = json.load(open("/labels.json"))
assert labels["org.opencontainers.image.version"] == m.version("xnat-brs")
bill = json.load(open("/usr/share/doc/brs/sbom.cdx.json"))
names = {c["name"] for c in bill["components"]}
assert {"torch", "xnat-brs", "libc6"} <= names, names
print(len(bill["components"]), "components in the bill of materials")
'
    check_label
    if [ "$variant" = cpu ]; then
        guarded "$image" python -c 'import torch; assert torch.version.cuda is None'
    fi
    if podman history --no-trunc "$image" | grep -iE 'passw(or)?d=|secret=|token='; then
        fail "a secret in the image's history"
    fi
}

command_file() { [ "$variant" = cpu ] && echo command-cpu.json || echo command.json; }

# What the image itself makes of the command file is what its label says.
check_label() {
    local file
    file="$(command_file)"
    inspect '{{index .Config.Labels "org.nrg.commands"}}' >"$work/label"
    guarded --volume "$PWD/$file:/$file:ro" "$image" \
        brs command-lint --label value "/$file" 2>"$work/lint" | cmp - "$work/label" \
        || { cat "$work/lint" >&2; fail "the label is not $file"; }
}

check_readable() {
    local hidden
    hidden="$(guarded "$image" find /opt/brs /usr/share/doc/brs ! -readable)"
    [ -z "$hidden" ] || fail "not readable: $hidden"
    hidden="$(guarded "$image" find / -xdev -writable ! -type l ! -path '/proc/*' \
        ! -path '/dev*' ! -path '/sys/*' ! -path '/tmp*' 2>/dev/null || true)"
    [ -z "$hidden" ] || fail "writable: $hidden"
}

check_version() {
    [ "$(guarded "$image" brs --version)" = "brs, version ${tag%-cpu}" ] || fail "--version"
    guarded "$image" | grep -q '^Usage: brs' || fail "the default command"
}

# Every file of the package is in the image: code, templates, recipe, default weights.
check_package() {
    local found
    # shellcheck disable=SC2016  # $package is the image's shell's
    found="$(guarded --volume "$PWD/plugin:/tree/plugin:ro" \
        --volume "$PWD/model:/tree/model:ro" "$image" sh -c '
        for package in plugin model; do
            diff --recursive --brief --exclude=__pycache__ "/tree/$package" \
                /opt/brs/lib/python3*/site-packages/"$package"
        done')" || true
    found="$(grep -v '^Only in /opt/brs/.*plugin: command.json$' <<<"$found" || true)"
    [ -z "$found" ] || fail "the package is not the tree's: $found"
}

# A tree may have no default checkpoint; the image then says so where one is needed.
check_default_weights() {
    local file=model/weights/default.safetensors said
    if [ -f "$file" ]; then
        run_segment default "${GUARDED[@]}" --network none
        grep -q "$(sha256_of_weights model/weights/default.json)" \
            "$work/default/result.json" || fail "a result of other weights"
    else
        say "this tree has no default checkpoint"
        if said="$(guarded --volume "$work/trial:/trial:ro" "$image" \
            brs segment --input /trial/session --output /tmp/none 2>&1)"; then
            fail "segmenting without weights"
        fi
        grep '^error: .*a build without a default checkpoint' <<<"$said" >&2 \
            || fail "no reason given: $said"
    fi
}

sha256_of_weights() { # MANIFEST
    "$python" -c 'import json, sys
print(json.load(open(sys.argv[1]))["weights_sha256"])' "$1"
}

make_trial() {
    chown "$ANY_UID:$ANY_UID" "$work"/{trial,guarded,open,default}
    guarded --volume "$work/trial:/trial:rw" \
        --volume "$PWD/docker/trial_input.py:/trial_input.py:ro" \
        "$image" python /trial_input.py /trial
    digest_input >"$work/input.before"
}

digest_input() {
    (cd "$work/trial" && find session weights -type f -print0 | sort -z | xargs -0 sha256sum)
}

run_segment() { # NAME ARGUMENT OF PODMAN...
    local name="$1"
    shift
    # Not --rm: what the container changed is asked afterwards.
    podman run --name "$name" "$@" \
        --volume "$work/trial/session:/input:ro" \
        --volume "$work/trial/weights:/weights:ro" \
        --volume "$work/$name:/output:rw" \
        "$image" python -c "$WITH_USAGE" brs segment --input /input --output /output \
        --device cpu "${checkpoint[@]}" 2> >(tee "$work/$name.log" >&2)
}

segment() { # NAME ARGUMENT OF PODMAN...
    local name="$1" checkpoint=(--checkpoint /weights/checkpoint.safetensors)
    run_segment "$@"
    for file in $RESULTS; do
        [ -s "$work/$name/$file" ] || fail "$name: no $file"
    done
    digest_input | cmp - "$work/input.before" || fail "$name: the input was changed"
}

segment_guarded() {
    segment guarded "${GUARDED[@]}" --network none
    if command -v dciodvfy >/dev/null; then
        dciodvfy "$work/guarded/segmentation.dcm" 2>&1 | grep '^Error' && fail "the SEG"
        say "dciodvfy finds no error"
    fi
}

# Nothing stops a stray file here: what lies outside /tmp and the mounts is one.
segment_open() {
    segment open "${STRANGER[@]}" --network none
    podman diff open >"$work/open.diff"
    if grep -vE ' /(tmp(/.*)?|input|weights|output|etc|run|dev|proc|sys)$' "$work/open.diff" \
        | grep -v ' /etc/mtab$'; then
        fail "written elsewhere; see above"
    fi
    grep -E '^A /tmp/' "$work/open.diff" >&2 || say "nothing left in /tmp"
    cmp "$work"/{guarded,open}/segmentation.dcm || fail "the second SEG differs"
}

# No GPU is given to the container: asked for one, it says so and does not compute.
check_no_gpu() {
    local said
    if said="$(guarded --volume "$work/trial:/trial:ro" "$image" brs segment \
        --input /trial/session --output /tmp/none --device cuda \
        --checkpoint /trial/weights/checkpoint.safetensors 2>&1)"; then
        fail "--device cuda without a GPU"
    fi
    grep '^error: ' <<<"$said" >&2 || fail "no reason given: $said"
}

# From XNAT's menu: the stand-in server of the tests, on this machine's loopback.
launch() {
    rm -rf "$work"/{xnat,launches}
    PYTHONPATH=tests "$python" docker/image-test/launch.py "$work" "$image" \
        "$(command_file)" -- podman run --rm "${GUARDED[@]}" --network host
}

# Podman reports that it cannot have systemd ask every minute; we ask ourselves.
start_for_health() { # NAME COMMAND
    podman run --detach --name "$1" --network none \
        --volume "$work/serving:/serving:ro" "$image" python /serving/brs "$2" \
        >/dev/null 2>>"$work/health.log" \
        || { cat "$work/health.log" >&2; fail "the container $1"; }
}

check_health() {
    mkdir -p "$work/serving"
    # Serving is told by the command line: this one is meant to, and does not answer.
    echo 'import time; time.sleep(120)' >"$work/serving/brs"
    start_for_health batch segment
    start_for_health mute serve
    podman healthcheck run batch || fail "a batch container is unhealthy"
    if podman healthcheck run mute; then fail "a mute server is healthy"; fi
    podman rm --force --time 0 batch mute >/dev/null 2>>"$work/health.log"
}

report() {
    say "passed: $image on $base"
    printf '%s\n' "${times[@]}" >&2
    printf '%8.0f MB  the image, unpacked\n' "$(inspect '{{.Size}}' | awk '{print $1 / 1e6}')" >&2
    podman history --format '{{.Size}}  {{.CreatedBy}}' "$image" \
        | grep -v '^0 B' | cut -c1-100 >&2
    awk -F'"' '/"(read|infer|judge|write)":/ { print "         " $2 $3 " s inside segment" }' \
        "$work/guarded/result.json" >&2
    grep '^took: ' "$work/guarded.log" >&2
}
