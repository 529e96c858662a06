#!/bin/sh
# Names the apt packages that tests use and this machine lacks, with what is skipped for lack of them.
# With --strict a missing package is an error.
set -eu
missing=0

need() { # package, what to look for, what is skipped without it
    if ! command -v "$2" >/dev/null 2>&1 && ! [ -e "$2" ]; then
        echo "apt package $1 is missing; skipped without it: $3" >&2
        missing=$((missing + 1))
    fi
}

need sip-tester sipp "calls by sipp"
need baresip-core baresip "calls by baresip"
need pocketsphinx-testdata /usr/share/pocketsphinx/test/data "recognition of human speech"

if [ "$missing" -gt 0 ]; then
    echo "$missing packages are missing; as root: apt-get install sip-tester baresip-core pocketsphinx-testdata" >&2
    [ "${1:-}" != "--strict" ]
fi
