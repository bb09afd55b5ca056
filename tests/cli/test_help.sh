#!/bin/bash
# Help, version, option table, man pages and completion say the same.
. "$(dirname "$0")/lib.sh"

run 0 'help' help
check 'help names every command' test "$("$FEWBIT" --print-options | wc -l)" -ge 9
run 2 'no command'
run 0 'version' --version
check 'version is a line' grep -Eq '^fewbit [0-9]+\.[0-9]+\.[0-9]+$' out
refuse 2 'unknown command' 'unknown command' frobnicate

for c in $("$FEWBIT" --print-options); do
    run 0 "$c --help" "$c" --help
    check "$c: the example comes first" grep -q "^fewbit $c" <(head -1 out)
    check "overview names $c" grep -Eq "^  $c +[a-z]" <("$FEWBIT" help)
    page=$FB_SOURCE/docs/man/fewbit-$c.1.scd
    table=$("$FEWBIT" --print-options "$c" | cut -f1 | sort)
    check "$c: --help shows the table" test "$table" = \
        "$(sed -n 's/^ \{2,6\}\(-., \)\{0,1\}\(--[a-z-]*\).*/\2/p' out | sort -u)"
    check "$c: the man page shows the table" test "$table" = \
        "$(sed -n '/^# OPTIONS/,/^# JSON/p' "$page" | sed -n '/^\*-/s/.*\*\(--[a-z-]*\)\*.*/\1/p' | sort)"
    refuse 2 "$c: unknown option" 'unknown or ambiguous option --bogus' "$c" --bogus
    # every option of some other command is refused here
    for other in $("$FEWBIT" --print-options); do
        "$FEWBIT" --print-options "$other" | cut -f1
    done | sort -u | comm -23 - <(echo "$table") >foreign
    while read -r option; do
        "$FEWBIT" "$c" "$option=1" x x >out 2>err
        code=$?
        if [ $code -eq 2 ] && [ ! -s out ]; then pass; else fail "$c $option: exit code $code"; fi
    done <foreign
done
refuse 2 'option without effect' 'option --seed has no effect here' run a b --seed 3
refuse 2 'option without effect' 'no effect without --dry-run' inspect a --method int8
refuse 2 'option without effect' 'no effect without --data' compress a -o b --limit 3
refuse 2 'missing value' 'needs a value' bench a --batch
refuse 2 'bad number' 'integer from' bench a --batch zero
refuse 2 'bad number' 'integer from' bench a --threads -1
refuse 2 'bad level' 'not one of' bench a --cpu sse9
refuse 2 'a value too many' 'takes no value' compress a --force=yes
refuse 2 'quiet and verbose' 'exclude each other' verify a -q -v
refuse 2 'missing operand' 'expects MODEL IMAGE' run a
refuse 2 'operand too many' 'unexpected operand' inspect a b

for page in "$FB_SOURCE"/docs/man/*.scd; do
    if command -v scdoc >/dev/null; then
        check "$page compiles" sh -c "scdoc <'$page' | grep -q '^.TH'"
    else
        skip "$page: no scdoc"
    fi
done

# completion: commands, then options, from the program
if bash -n "$FB_SOURCE/completions/fewbit.bash"; then pass; else fail 'completion'; fi
complete_words() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _fewbit
    printf '%s\n' "${COMPREPLY[@]}"
}
. "$FB_SOURCE/completions/fewbit.bash"
check 'completes commands' test "$(complete_words "$FEWBIT" comp)" = compress
check 'completes options' test "$(complete_words "$FEWBIT" compress --meth)" = --method

run 0 'info' info
run 0 'info --kernels' info --kernels
check 'kernels are listed' grep -q 'fbk_.*_ref' out
run 0 'info --json' info --json
json "r['schema'] == 'fewbit/info-1' and len(r['kernels']) > 10 and 'ref' in r['cpu']"
json "all(set(k) == {'family', 'kernel', 'needs', 'usable'} for k in r['kernels'])"
json "any(m['name'] == 'int8' and m['needs_data'] for m in r['methods'])"
FEWBIT_CPU=ref run 0 'info under a mask' info --json
json "r['cpu'] == ['ref']"
finish
