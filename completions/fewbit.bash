# bash completion for fewbit. Commands and options come from the program itself, so that they are
# never out of date.
_fewbit()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local program=${COMP_WORDS[0]} command=${COMP_WORDS[1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "help --version $("$program" --print-options)" -- "$cur")
        return
    fi
    case $prev in
    help)
        mapfile -t COMPREPLY < <(compgen -W "$("$program" --print-options)" -- "$cur")
        return ;;
    --prep)
        mapfile -t COMPREPLY < <(compgen -W "imagenet tensorflow caffe cifar10 mnist none" -- "$cur")
        return ;;
    --cpu)
        mapfile -t COMPREPLY < <(compgen -W "ref avx2 vnni vbmi neon all" -- "$cur")
        return ;;
    --tables)
        mapfile -t COMPREPLY < <(compgen -W "lookup decode" -- "$cur")
        return ;;
    --optimizer)
        mapfile -t COMPREPLY < <(compgen -W "sgd nesterov adam" -- "$cur")
        return ;;
    --schedule)
        mapfile -t COMPREPLY < <(compgen -W "one-cycle cosine step constant" -- "$cur")
        return ;;
    --to)
        mapfile -t COMPREPLY < <(compgen -W "onnx" -- "$cur")
        return ;;
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W \
            "$("$program" --print-options "$command" 2>/dev/null | cut -f1)" -- "$cur")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}
complete -o filenames -F _fewbit fewbit
