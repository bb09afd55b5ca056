#!/bin/bash
# What installs is whole: the examples build against it by pkg-config and by CMake and run, the
# libraries need and export only what they promise, the man pages are there.
. "$(dirname "$0")/../cli/lib.sh"
NET=$GLYPHS/glyphs_resnet.onnx
prefix=$WORK/prefix
if ! cmake --install "$FB_BUILD" --prefix "$prefix" >install.log 2>&1; then
    # a build of some targets only (a developer's) cannot be installed
    if grep -q 'cannot find' install.log && [ ! -e "$FB_BUILD/libfewbit.so" ]; then
        skip "$FB_BUILD is not a complete build"
        finish
    fi
    cat install.log
    fail 'cmake --install'
    finish
fi
pass
libdir=$(dirname "$(find "$prefix" -name fewbit.pc)")/..
libdir=$(cd "$libdir" && pwd)
export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
# The files name the prefix of the configuration; this test installs elsewhere.
pkg() { pkg-config --define-variable=prefix="$prefix" "$@"; }
check 'pkg-config knows fewbit' pkg-config --exists fewbit
check 'pkg-config knows fewbit-tools' pkg-config --exists fewbit-tools
check 'same version' test "$(pkg-config --modversion fewbit)" = \
    "$("$prefix/bin/fewbit" --version | cut -d' ' -f2)"
headers=("$FB_SOURCE"/include/fewbit/*.h)
if ! "$FEWBIT" --print-options | grep -qx train; then
    skip 'training: built without oneDNN'
    mapfile -t headers < <(printf '%s\n' "${headers[@]}" | grep -v /train.h)
fi
for h in "${headers[@]}"; do
    check "$(basename "$h") is installed" cmp "$h" "$prefix/include/fewbit/$(basename "$h")"
    printf '#include <fewbit/%s>\n' "$(basename "$h")" >alone.c
    # shellcheck disable=SC2046
    check "$(basename "$h") stands alone" cc -std=c11 -Wall -Wextra -Wpedantic -Werror \
        $(pkg --cflags fewbit) -fsyntax-only alone.c
    if command -v c++ >/dev/null; then
        # shellcheck disable=SC2046
        check "$(basename "$h") is C++, too" c++ -x c++ -Wall -Werror $(pkg --cflags fewbit) \
            -fsyntax-only alone.c
    fi
done

# --- what the libraries need and show
so=$libdir/libfewbit.so
readelf -d "$so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >needed
if nm -D "$so" | grep -q __asan; then
    skip 'needed libraries: a sanitizer build'
else
    check 'libfewbit needs libc, libm and threads alone' \
        test -z "$(grep -Ev '^(libc|libm|libpthread|ld-linux.*)\.so' needed)"
fi
check 'libfewbit has a soname' grep -q 'libfewbit.so.0' <(readelf -d "$so")
for lib in "$so" "$libdir/libfewbit-tools.so"; do
    nm -D --defined-only "$lib" | awk '{print $3}' | grep -v '^FEWBIT' >exported
    check "$(basename "$lib") exports something" test -s exported
    check "$(basename "$lib") exports fb_* alone" test -z "$(grep -v '^fb_' exported)"
    check "$(basename "$lib") has versions" grep -q '@@FEWBIT' exported
done
# every function of the runtime headers is exported by libfewbit, every other one by the tools
nm -D --defined-only "$so" | awk '$2 != "A" {print $3}' | sed 's/@.*//' | sort -u >have
nm -D --defined-only "$libdir/libfewbit-tools.so" | awk '$2 != "A" {print $3}' | sed 's/@.*//' | sort -u >have.tools
names() { cat "$@" | tr '\n' ' ' | grep -o 'FB_API [^;{]*' | grep -o 'fb_[a-z0-9_]*(' | tr -d '(' | sort -u; }
cd "$FB_SOURCE/include/fewbit" || exit 1
names status.h model.h run.h >"$WORK/want"
names "${headers[@]}" >"$WORK/want.tools"
cd "$WORK" || exit 1
check "libfewbit has all of its headers' functions: $(comm -23 want have | tr '\n' ' ')" \
    test -z "$(comm -23 want have)"
check "libfewbit has nothing more: $(comm -13 want have | tr '\n' ' ')" test -z "$(comm -13 want have)"
check "libfewbit-tools has all functions: $(comm -23 want.tools have.tools | tr '\n' ' ')" \
    test -z "$(comm -23 want.tools have.tools)"

# --- man pages and completion
if command -v scdoc >/dev/null; then
    for page in "$FB_SOURCE"/docs/man/*.scd; do
        base=$(basename "$page" .scd)
        check "$base is installed" test -s "$prefix/share/man/man${base##*.}/$base"
    done
else
    skip 'man pages: no scdoc'
fi
check 'bash completion is installed' test -s "$prefix/share/bash-completion/completions/fewbit"

# --- the examples
# shellcheck disable=SC2046
check 'classify by pkg-config' cc -std=c11 "$FB_SOURCE/examples/classify.c" \
    $(pkg --cflags --libs fewbit) -o classify
# shellcheck disable=SC2046
check 'compress by pkg-config' cc -std=c11 "$FB_SOURCE/examples/compress.c" \
    $(pkg --cflags --libs fewbit-tools) -o compress
check 'examples by CMake' sh -c "cmake -S '$FB_SOURCE/examples' -B examples \
    -DCMAKE_PREFIX_PATH='$prefix' && cmake --build examples"
check 'CMake built both' test -x examples/classify -a -x examples/compress

if [ -f "$NET" ]; then
    check 'compress runs' ./compress "$NET" "$CALIB" "$PREP" net.fewbit
    check 'the CMake one runs' examples/compress "$NET" "$CALIB" "$PREP" again.fewbit
    check 'and writes the same' cmp net.fewbit again.fewbit
    # test image 5 as a PPM
    zcat "$TEST" | tail -c +$((17 + 5 * 3072)) | head -c 3072 >pixels
    { printf 'P6 32 32 255\n' && cat pixels; } >image.ppm
    ./classify net.fewbit image.ppm >top && pass || fail 'classify runs'
    examples/classify net.fewbit image.ppm >top2 && pass || fail 'the CMake one runs'
    check 'and says the same' cmp top top2
    check 'five lines' test "$(wc -l <top)" -eq 5
    "$FEWBIT" run net.fewbit "$GLYPHS/samples/R-5.png" --json >out
    json "r['images'][0]['top'][0]['label'] == $(awk 'NR == 1 {print $2}' top)"
else
    skip 'examples: no glyphs networks'
fi
finish
