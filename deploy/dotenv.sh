# shellcheck shell=bash
# Reads .env as compose does (compose-go, package dotenv): quotes, inline comments, `export`, CRLF, a BOM, `NAME: value`,
# $NAME and ${NAME:-default}, $$; the last line of a name counts. To be sourced.

# The values by their names, and the names of those from which an unset $NAME took a part away.
declare -A in_env=() cut_in_env=()

read_env() {
    # Byte by byte: a password may be in any encoding.
    local text key value LC_ALL=C
    in_env=() cut_in_env=()
    text=$(tr -d '\r' 2>/dev/null <"$1") || return 0
    text=${text#$'\xef\xbb\xbf'}
    while [ -n "$text" ]; do
        if ! [[ $text =~ ^[[:space:]]*(export[[:blank:]]+)?([A-Za-z0-9_.-]+)[[:blank:]]*[=:][[:blank:]]*(.*)$ ]]; then
            # A comment, or nothing that compose could read.
            text=${text#"${text%%[![:space:]]*}"}
            [[ $text == *$'\n'* ]] && text=${text#*$'\n'} || text=
            continue
        fi
        key=${BASH_REMATCH[2]} text=${BASH_REMATCH[3]}
        if [[ $text =~ ^\'(([^\'\\]|\\.)*)\'(.*)$ ]]; then
            value=${BASH_REMATCH[1]//\\\'/\'} text=${BASH_REMATCH[3]}
        elif [[ $text =~ ^\"(([^\"\\]|\\.)*)\"(.*)$ ]]; then
            text=${BASH_REMATCH[3]}
            expand "$key" "${BASH_REMATCH[1]}" quoted
        else
            value=${text%%$'\n'*}
            text=${text:${#value}}
            value=${value%% \#*}
            expand "$key" "${value%"${value##*[![:space:]]}"}" ''
        fi
        in_env[$key]=$value
    done
}

# KEY, TEXT, whether it stood in double quotes. Leaves the result in `value`.
expand() {
    local key=$1 left=$2 quoted=$3 name default
    value=
    while [ -n "$left" ]; do
        if [ -n "$quoted" ] && [[ $left =~ ^\\(.)(.*)$ ]]; then
            left=${BASH_REMATCH[2]}
            case ${BASH_REMATCH[1]} in
            n) value+=$'\n' ;;
            r) value+=$'\r' ;;
            t) value+=$'\t' ;;
            [\"\\\$]) value+=${BASH_REMATCH[1]} ;;
            *) value+="\\${BASH_REMATCH[1]}" ;;
            esac
        elif [[ $left =~ ^\$\$(.*)$ ]]; then
            value+='$' left=${BASH_REMATCH[1]}
        elif [[ $left =~ ^\$\{([A-Za-z_][A-Za-z0-9_]*)(:?-([^}]*))?\}(.*)$ ]] ||
            [[ $left =~ ^\$([A-Za-z_][A-Za-z0-9_]*)()()(.*)$ ]]; then
            name=${BASH_REMATCH[1]} default=${BASH_REMATCH[3]} left=${BASH_REMATCH[4]}
            name=$(setting "$name")
            # shellcheck disable=SC2034 # whoever sources this looks at it
            [ -n "$name$default" ] || cut_in_env[$key]=yes
            value+=${name:-$default}
        else
            value+=${left:0:1} left=${left:1}
        fi
    done
}

# NAME: its value. As with compose, the environment counts before .env.
setting() { printenv "$1" || printf %s "${in_env[$1]:-}"; }
