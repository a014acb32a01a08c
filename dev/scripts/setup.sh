#!/usr/bin/env bash
# Makes a virtual environment, or brings one up to date, with this project and the named extras.
#
#   dev/scripts/setup.sh FOLDER EXTRA[,EXTRA...]
#
# PYTHON=/path/to/python3 chooses the interpreter. Extras are named with hyphens: pip before 23.3 knows no others.
set -euo pipefail

venv=${1:?the folder of the virtual environment}
extras=${2:?names of extras in pyproject.toml}
cd "$(dirname "$0")/../.."

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
        if command -v "$candidate" >/dev/null && is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11 or later found${PYTHON:+ (PYTHON=$PYTHON)}." >&2
    echo "setup: install one (Debian 12, Ubuntu 24.04: sudo apt-get install python3 python3-venv), or set PYTHON." >&2
    exit 1
}

# Runs a command as root; fails quietly where that needs a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_be_root() {
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

# Debian and Ubuntu keep ensurepip, without which there is no pip in the environment, in a package of its own.
need_venv_module() {
    local python=$1 package
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if command -v apt-get >/dev/null && may_be_root; then
        echo "setup: installing $package, which makes virtual environments, with apt-get"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
    else
        echo "setup: $python cannot make virtual environments; install its venv module first" >&2
        echo "setup: (Debian, Ubuntu: sudo apt-get install $package)" >&2
        exit 1
    fi
}

# An environment whose making was cut short has an interpreter, but no pip.
is_usable() {
    is_new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

if ! is_usable; then
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
        echo "setup: $venv is there already and no virtual environment; choose another folder" >&2
        exit 1
    fi
    python=$(find_python)
    need_venv_module "$python"
    echo "setup: making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

echo "setup: installing what is needed ($extras); the first time this takes a while"
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile)
# "compat" is a line in a .pth file; setuptools' other way costs each start of Python a hundredth of a second.
project=(--config-settings editable_mode=compat --editable ".[$extras]")
# uv takes a quarter of pip's time. It does not read pip's own configuration, so pip has the last word.
if "${pip[@]}" uv 2>/dev/null && "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "${project[@]}"; then
    exit 0
fi
echo "setup: uv could not do it; pip tries"
# Compiling on first use instead of now saves a third of the time.
"${pip[@]}" "${project[@]}"
