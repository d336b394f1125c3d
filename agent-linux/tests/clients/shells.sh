#!/bin/bash
# bash, zsh and fish take the lines of -autocomplete-install and complete by them.
# usage: shells.sh AGENT_BINARY
. "$(dirname "$0")/lib.sh"
need zsh zsh
need fish fish

home=$work/home
mkdir -p "$home/.config/fish" "$work/bin"
ln -s "$agent" "$work/bin/reeve"
: >"$home/.bashrc"
: >"$home/.zshrc"
# The shells see this home and this program only.
export HOME=$home XDG_CONFIG_HOME=$home/.config XDG_DATA_HOME=$home/.local PATH=$work/bin:$PATH
export ZDOTDIR=$home TERM=dumb

check 'it is installed' reeve -autocomplete-install
told=$home/.config/fish/completions/reeve.fish
check "bash takes the lines" bash -n "$home/.bashrc"
check "zsh takes the lines" zsh -n "$home/.zshrc"
check "fish takes the lines" fish --no-execute "$told"

# bash: the command of its lines, asked as the shell would ask it.
by_bash() {
    local told
    told=$(setsid --wait bash --rcfile "$home/.bashrc" -ic 'complete -p reeve' 2>/dev/null)
    told=${told#*-C }
    COMP_LINE=$1 COMP_POINT=${#1} eval "${told% reeve}" reeve "${1##* }" x
}

# zsh: a tab after the words in a terminal; prints the line as it became.
by_zsh() {
    zsh -f "$work/type.zsh" "$1"
}
cat >"$work/type.zsh" <<'END'
setopt extended_glob
zmodload zsh/zpty
zmodload zsh/zselect
seen=
# heard PATTERN: reads until the pattern came; the last line that fits is $REPLY.
heard() {
    local piece deadline=$((SECONDS + 30))
    while (( SECONDS < deadline )); do
        [[ $seen == (#b)*(${~1})* ]] && { REPLY=$match[1]; return }
        if zpty -rt shell piece; then seen+=$piece; else zselect -t 5; fi
    done
    print -r -- "not heard: $1 in ${(V)seen}"
    exit 1
}
zpty -b shell "TERM=dumb exec zsh -i"
zpty -w shell 'PS1=; unset zle_bracketed_paste; unsetopt prompt_sp; show() { print "<$BUFFER>"; BUFFER=; zle accept-line }'
zpty -w shell 'zle -N show; bindkey "^X" show; echo rea""dy'
heard ready
seen=
zpty -wn shell "$1"$'\t\x18'
heard '<reeve[^>]#>'
print -r -- ${${REPLY#<}%>}
END

# fish: it tells what it would complete.
by_fish() {
    fish -c 'complete -C $argv[1]' -- "$1" | cut -f 1
}

same 'bash: a verb' members by_bash 'reeve mem'
same 'bash: a flag' -detailed by_bash 'reeve members -det'
same 'zsh: a verb' 'reeve members ' by_zsh 'reeve mem'
same 'zsh: a flag' 'reeve members -detailed ' by_zsh 'reeve members -det'
same 'fish: a verb' members by_fish 'reeve mem'
same 'fish: a verb below a verb' list-peers by_fish 'reeve operator raft l'
same 'fish: a file where there is no such word' "$work/bin/reeve" by_fish "reeve kv put key $work/bin/re"
same 'fish: a flag' -detailed by_fish 'reeve members -det'
check 'it is taken back' reeve -autocomplete-uninstall
check 'and nothing is left' [ ! -s "$home/.bashrc" -a ! -s "$home/.zshrc" -a ! -e "$told" ]
finish
