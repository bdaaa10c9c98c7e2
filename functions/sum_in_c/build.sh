#!/bin/sh
# Compiles sum_in_c.c to the core module $1, which `cargo xtask functions` makes a component of.
# Needs Clang with lld, or Zig (`pip install ziglang`; $PYTHON is the Python that has it).
set -eu
cd "$(dirname "$0")"
flags="-std=c11 -O2 -Wall -Wextra -Werror -nostdlib -Wl,--no-entry -Wl,-z,stack-size=16384 -Wl,--strip-all"
if "${PYTHON:-python3}" -c 'import ziglang' 2>/dev/null; then
    # shellcheck disable=SC2086
    exec "${PYTHON:-python3}" -m ziglang cc -target wasm32-freestanding $flags -o "$1" sum_in_c.c
fi
# shellcheck disable=SC2086
exec clang --target=wasm32 $flags -o "$1" sum_in_c.c
