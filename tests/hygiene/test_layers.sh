#!/bin/bash
# The walls of the house: reads every #include line and fails on an arrow that docs/ARCHITECTURE.md
# does not draw; the library never exits or prints; files keep to a readable length.
set -uo pipefail
cd "${FB_SOURCE:-$(dirname "$0")/../..}"
passed=0 failed=0

check() { # what, offending lines (empty is good)
  if [ -z "$2" ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n%s\n' "$1" "$2"
  fi
}

# Room: rooms it may include besides itself. "public" is include/fewbit.
allowed() {
  case $1 in
    base) echo "public" ;;
    numeric) echo "base" ;;
    model) echo "public base numeric" ;;
    format) echo "public base model numeric" ;;
    kernels) echo "base numeric public:fewbit/run.h public:fewbit/fewbit.h" ;;
    plan) echo "public base model numeric kernels" ;;
    run) echo "public base plan kernels" ;;
    import) echo "public base model numeric" ;;
    export) echo "public base model numeric" ;;
    data) echo "public base" ;;
    calibrate) echo "public base numeric" ;;
    compress) echo "public base model numeric calibrate" ;;
    search) echo "public base model numeric calibrate compress" ;;
    measure) echo "public base model numeric plan" ;;
    train) echo "public base model numeric compress" ;;
  esac
}

# A mutant first: a test that cannot fail is a defect.
walls() { # source tree
  local file room target ok
  while IFS=: read -r file _ line; do
    room=${file#"$1"/src/}
    room=${room%%/*}
    target=$(sed -E 's/.*"([^"]+)".*/\1/' <<<"$line")
    case $target in
      fewbit/*) ok=public ;;
      onnx.pb-c.h) [ "$room" = import ] || [ "$room" = export ] || echo "$file: $target"; continue ;;
      */*) ok=${target%%/*} ;;
      *) echo "$file: $target has no room"; continue ;;
    esac
    [ "$ok" = "$room" ] && continue
    case " $(allowed "$room") " in
      *" $ok "* | *" $ok:$target "*) ;;
      *) echo "$file includes $target" ;;
    esac
  done < <(grep -rnE '^ *# *include *"' "$1/src" --include='*.c' --include='*.h' --include='*.inc')
  grep -rnE '^ *# *include *"' "$1/cli" "$1/examples" --include='*.c' --include='*.h' 2>/dev/null |
    grep -vE '"fewbit/' | grep -vE '/cli/[^:]+:[0-9]+:.*"[a-z_]+\.(h|inc)"'
}

mutant=$(mktemp -d)
mkdir -p "$mutant/src/kernels/ref" "$mutant/cli"
echo '#include "model/model.h"' >"$mutant/src/kernels/ref/bad.c"
echo '#include "plan/plan.h"' >"$mutant/cli/bad.c"
[ "$(walls "$mutant" | wc -l)" -eq 2 ] || check "the wall test sees a hole" "it did not"
rm -rf "$mutant"

check "include directions" "$(walls .)"
check "the library does not exit, abort or print" "$(grep -rnE \
  '(^|[^a-z_])(exit|_exit|abort|printf|fprintf|puts|perror) *\(' src --include='*.c' --include='*.h' |
  grep -vE '^[^:]+:[0-9]+: *(/?\*|//)')"
check "public headers install alone" "$(for h in include/fewbit/*.h; do
  echo "#include \"$h\"" | ${CC:-cc} -std=c11 -Wall -Werror -I. -Iinclude -xc -fsyntax-only - 2>&1
  if command -v c++ >/dev/null; then
    echo "#include \"$h\"" | c++ -Wall -Werror -I. -Iinclude -xc++ -fsyntax-only - 2>&1
  fi
done)"
check "files keep under 650 lines" "$(git ls-files '*.c' '*.h' 2>/dev/null | xargs wc -l |
  awk '$2 != "total" && $1 > 650')"
check "every method has an essay" "$(for m in $(sed -nE 's/^    \.name = "([a-z0-9-]+)",$/\1/p' \
  src/compress/*.c); do
  grep -rqF "\`$m\`" docs/methods || echo "method $m"
done)"

if [ -n "${FB_BUILD:-}" ] && command -v objdump >/dev/null; then
  check "no wide registers outside x86/" "$(find "$FB_BUILD" -path '*fewbit_objects*' -name '*.o' \
    ! -path '*kernels/x86*' -exec sh -c 'objdump -d "$1" | grep -q "%[yz]mm" && echo "$1"' _ {} \;)"
fi
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
