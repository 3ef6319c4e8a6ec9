#!/bin/sh
# From a fresh clone to a running concierge: makes .venv from hash-pinned wheels, then hands over.
#   ./bootstrap.sh [COMMAND …]    concierge COMMAND … (without arguments: concierge up)
#   ./bootstrap.sh test […]       every test but the slow ones, those with the real engine and model included; `test
#                                 --nix` adds those with a real Nix, unpacked beside the system from Debian's packages
#   ./bootstrap.sh link           ~/.local/bin/concierge, which starts this script from anywhere; `unlink` removes it
set -eu

# What the caller's shell says about another Python is not for this one.
unset PYTHONHOME PYTHONPATH

called=${0##*/}
self=$0
while [ -L "$self" ]; do
    target=$(readlink "$self")
    case $target in /*) self=$target ;; *) self=$(dirname -- "$self")/$target ;; esac
done
here=$(CDPATH='' cd -- "$(dirname -- "$self")" && pwd -P)
venv=$here/.venv
shortcut=${HOME-}/.local/bin/concierge

# Under its other name the script has no words of its own: `concierge test` is for concierge to answer.
if [ "$called" = concierge ]; then verb=; else verb=${1-up}; fi
lock=requirements.lock
if [ "$verb" = test ]; then lock=requirements-dev.lock; fi

say() { printf 'bootstrap: %s\n' "$*" >&2; }
fail() { say "$*"; exit 4; }
refuse() { say "$*"; exit 2; }

# A folder that was moved, or whose Python is gone or another one now, cannot start; asked without starting anything.
in_place() {
    { read -r place && read -r interpreter; } 2>/dev/null <"$venv/made" &&
        [ "$place" = "$here" ] && [ "$venv/bin/python" -ef "$interpreter" ]
}
# The stamps are written last, so a folder without them is half made and is made again.
current() { cmp -s "$here/$1" "$venv/$1" && cmp -s "$here/pyproject.toml" "$venv/pyproject.toml"; }
ready() { in_place && { current "$lock" || { [ "$lock" = requirements.lock ] && current requirements-dev.lock; }; }; }

find_python() {
    if [ -n "${CONCIERGE_PYTHON-}" ]; then
        set -- "$CONCIERGE_PYTHON"
    else
        set -- python3 python3.14 python3.13 python3.12 python3.11 python
    fi
    for candidate; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            python=$candidate
            return
        fi
    done
    say "No Python 3.11 or newer was found. Install one (Debian: apt install python3 python3-venv), or set CONCIERGE_PYTHON."
    exit 3
}

# One installer at a time; a holder that died is recognised by its process id.
take_turn() {
    waited=0
    until mkdir "$venv.lock" 2>/dev/null; do
        holder=$(cat "$venv.lock/pid" 2>/dev/null || echo)
        if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then rm -rf "$venv.lock"; continue; fi
        [ "$waited" -lt 300 ] || fail "Another bootstrap.sh holds $venv.lock for five minutes; end it or remove that folder."
        [ "$waited" -gt 0 ] || say "Waiting for another bootstrap.sh to finish."
        waited=$((waited + 1))
        sleep 1
    done
    echo $$ >"$venv.lock/pid"
}

# Either the new environment is complete or the old one is back.
put_back() {
    [ -f "$venv/made" ] || rm -rf "$venv"
    if [ ! -d "$venv" ] && [ -d "$venv.old" ]; then mv "$venv.old" "$venv"; fi
    rm -rf "$venv.old"
}

leave() {
    code=$?
    trap - EXIT
    if [ "$installing" = yes ]; then put_back; fi
    if [ "$holding" = yes ]; then rm -rf "$venv.lock"; fi
    exit "$code"
}

forget_other_pythons() {
    for name in $(env | sed -n 's/^\(PYTHON[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
}

# Takes the user's settings away from the installer, all but those that say how to reach the package index.
reach_only() {
    settings=$("$python" -I "$here/scripts/index_settings.py" "$@") || return
    eval "$settings"
}

with_uv() {
    command -v uv >/dev/null 2>&1 || return 1
    reach_only uv "$venv.lock/uv.toml" &&
        uv venv --quiet --no-project --no-python-downloads --python "$python" "$venv" &&
        uv pip install --quiet --python "$venv/bin/python" --no-cache --compile-bytecode --no-deps --require-hashes \
            -r "$here/$lock" &&
        uv pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --offline -e "$here" && return
    say "uv could not do it; trying pip."
    rm -rf "$venv"
    return 1
}

# The lock is complete, so nothing is resolved: what is installed never depends on what the index holds today.
with_pip() {
    if "$python" -I -c 'import ensurepip' >/dev/null 2>&1; then
        words=$("$python" -I -m venv "$venv" 2>&1) || fail "$python could not make $venv: $words"
        set -- "$venv/bin/python" -I -m pip
    elif "$python" -I -c 'import venv, pip' >/dev/null 2>&1; then
        words=$("$python" -I -m venv --without-pip "$venv" 2>&1) || fail "$python could not make $venv: $words"
        set -- "$python" -I -m pip --python "$venv/bin/python"
    else
        say "$python has no venv module. Install it (Debian: apt install python3-venv), install uv, or set CONCIERGE_PYTHON."
        exit 3
    fi
    reach_only pip "$@" || fail "pip's settings could not be read: see the lines above."
    words=$("$@" --quiet --disable-pip-version-check --no-input install --no-cache-dir --no-deps --require-hashes \
        -r "$here/$lock" 2>&1) || explain "$words"
    words=$("$venv/bin/python" -I -m pip --quiet --disable-pip-version-check install --no-deps --no-build-isolation \
        --no-index -e "$here" 2>&1) || fail "concierge itself could not be installed into $venv: $words"
}

# Only what pip's own words leave no doubt about is given a name.
explain() {
    case $1 in
    *"DO NOT MATCH THE HASHES"*)
        cause="The package index serves other bytes than the ones that $lock pins; nothing was kept. Do not use them: compare your index with the publisher's." ;;
    *"No space left"*)
        cause="The disk is full; free some space (about 150 MB) and run this again." ;;
    *"connection broken by"*"from versions: none"* | *"Max retries exceeded"* | *incomplete-download*)
        cause="The package index could not be reached; check the network and pip's own settings (PIP_INDEX_URL, PIP_PROXY, PIP_CERT), then run this again." ;;
    *)
        cause="The packages of $lock could not be installed; nothing was kept." ;;
    esac
    fail "$cause pip says:
$1"
}

# The one start of the new interpreter proves that it starts, finds concierge, and says which file it really is.
prove() {
    interpreter=$("$venv/bin/python" -I -c 'import concierge, os, sys; print(os.path.realpath(sys.executable))') ||
        fail "The new $venv does not start: see the lines above."
    cp "$here/$lock" "$here/pyproject.toml" "$venv/"
    printf '%s\n' "$here" "$interpreter" >"$venv/made.new"
    mv "$venv/made.new" "$venv/made"
}

offer_link() {
    if [ "$verb" = test ] || [ -L "$shortcut" ]; then return; fi
    say "./bootstrap.sh link makes it \`concierge\` wherever you are; ./bootstrap.sh unlink takes that back."
}

make() {
    [ -w "$here" ] || fail "$here is read-only, and the environment is made in it. Clone into a folder that you can write to."
    find_python
    holding=no installing=no
    trap leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    take_turn
    holding=yes
    # One that was killed could not put back what it had moved away.
    if [ -d "$venv.old" ]; then put_back; fi
    if ! ready; then
        say "Making $venv with $(command -v "$python"), from $lock (once; about 20 s)."
        installing=yes
        if [ -d "$venv" ]; then mv "$venv" "$venv.old"; fi
        # In a shell of its own: the settings that are taken away from the installer are the program's again afterwards.
        (forget_other_pythons; with_uv || with_pip) || exit
        prove
        rm -rf "$venv.old"
        installing=no
        offer_link
    fi
    rm -rf "$venv.lock"
    trap - EXIT INT TERM HUP
}

# This checkout's own link, or the dead link of a checkout that was moved or deleted.
ours() {
    [ -L "$shortcut" ] || return 1
    if [ -e "$shortcut" ]; then [ "$shortcut" -ef "$here/bootstrap.sh" ]; return; fi
    case $(readlink "$shortcut") in */bootstrap.sh) ;; *) return 1 ;; esac
}

own_shortcut() {
    [ -n "${HOME-}" ] || refuse "HOME is not set, so there is no ~/.local/bin."
    if ours; then return; fi
    if [ -e "$shortcut" ] || [ -L "$shortcut" ]; then refuse "$shortcut is not this checkout's; it was left as it is."; fi
}

link() {
    own_shortcut
    { mkdir -p "${shortcut%/*}" && ln -sf "$here/bootstrap.sh" "$shortcut"; } || refuse "$shortcut could not be made."
    say "$shortcut starts $here/bootstrap.sh."
    case :$PATH: in *:"${shortcut%/*}":*) return ;; esac
    say "${shortcut%/*} is not on your PATH; put this line into your shell's profile:"
    echo 'export PATH="$HOME/.local/bin:$PATH"'
}

unlink() {
    own_shortcut
    rm -f "$shortcut" || refuse "$shortcut could not be removed."
    say "There is no $shortcut now."
}

case $verb in
link | unlink)
    [ $# -eq 1 ] || refuse "./bootstrap.sh $verb takes no more words."
    "$verb"
    exit ;;
esac

if ! ready; then make; fi

if [ "$verb" = test ]; then
    shift
    if [ "${1-}" = --nix ]; then
        shift
        CONCIERGE_NIX=$("$here/scripts/nix-here") || exit $?
        export CONCIERGE_NIX CONCIERGE_NIX_REQUIRED=1
    fi
    cd "$here"
    if [ "${1-}" = --mutate ]; then shift; exec "$venv/bin/python" -m tools.mutation "$@"; fi
    exec "$venv/bin/python" -m pytest --cov=concierge "$@"
fi
if [ $# -eq 0 ] && [ "$verb" = up ]; then set -- up; fi
exec "$venv/bin/concierge" "$@"
