#!/bin/sh
# Says in words what is missing to make a Python 3.11 environment.
set -eu
python="$1"

if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    echo "Landline needs Python 3.11; ${python:-python3} is $("${python:-python3}" --version 2>&1 || echo missing)." >&2
    echo "Install it (Debian 12: apt-get install python3.11 python3.11-venv), or name one: make run PYTHON=/path/to/python3.11" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$python cannot make environments: the module ensurepip is missing." >&2
    echo "Install it: apt-get install python3.11-venv" >&2
    exit 1
fi
