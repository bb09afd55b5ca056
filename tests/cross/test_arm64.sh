#!/bin/bash
# libfewbit for 64-bit ARM: built by the cross compiler with warnings as errors, those of its
# tests that look at what differs there run under qemu-user. Skipped without the tools, which `scripts/setup --cross` gets.
set -uo pipefail
cd "${FB_SOURCE:-$(dirname "$0")/../..}" || exit 1
dir=build-arm64
root=$PWD/$dir/cmocka
for need in aarch64-linux-gnu-gcc qemu-aarch64 "$root/usr/include/cmocka.h"; do
  if ! command -v "$need" >/dev/null && [ ! -f "$need" ]; then
    echo "no $need"
    exit 77
  fi
done

launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
cmake -S . -B "$dir" -G Ninja --toolchain cmake/aarch64-linux-gnu.cmake -DFB_TOOLS=OFF \
  -DFB_BENCH=OFF -DFB_WERROR=ON -DCMAKE_FIND_ROOT_PATH="$root" "${launcher[@]}" &&
  cmake --build "$dir" -- --quiet || exit 1

# What ARM's rows, its float arithmetic and its memory layout can break; the others spend minutes of
# emulation in plain C.
only='test_(prod_q|conv_q|plan_prod|point_q|pack_q|any|numeric|encoding|fixed|format|grid|layout|model|shape)$'
ctest --test-dir "$dir" -j "$(nproc)" --output-on-failure -R "$only" || exit 1

# Kernel tests hold every row that the library has to its reference; these must be among them.
symbols=$(aarch64-linux-gnu-nm "$dir/libfewbit.a" 2>/dev/null)
for row in fbk_prod_q_16_neon fbk_prod_q_128_neon fbk_conv_q_4x16_neon; do
  grep -q " T $row\$" <<<"$symbols" || { echo "no $row in the library"; exit 1; }
done
