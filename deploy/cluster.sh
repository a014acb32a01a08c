#!/bin/sh
# Edges of a cloud whose broker is a RabbitMQ cluster (docs/cluster.md). Call it where docker compose knows the cluster.
#
#   deploy/cluster.sh enrol NAME > NAME.tar    a new edge: its user at the cluster, and its bundle
#   deploy/cluster.sh renew NAME > NAME.tar    another bundle for it
#   deploy/cluster.sh revoke NAME              out at once: its connections, its user, its certificates
#   deploy/cluster.sh enrolled                 a line for each certificate
#
# COMPOSE is the command, docker compose by default; NODE the node that is asked, cloud_rabbitmq1 by default.
set -eu

compose=${COMPOSE:-docker compose}
node=${NODE:-cloud_rabbitmq1}

die() {
    echo "cluster.sh: $*" >&2
    exit 1
}

# The commands may hold several words.
# shellcheck disable=SC2086
identities() { $compose exec -T cloud_identities "$@"; }
# shellcheck disable=SC2086
control() { $compose exec -T "$node" rabbitmqctl --quiet "$@"; }

# NAME: its user, whom only a certificate lets in, with the rights that Mosquitto's plugin gives it.
allow() {
    # The hash of no password that anybody knows. A user that is there already stays.
    said=$(control add_user "$1" "$(head -c 36 /dev/urandom | base64)" --pre-hashed-password 2>&1) ||
        case $said in *"already exists"*) ;; *) die "$said" ;; esac
    name=$(printf %s "$1" | sed 's/[.+]/\\&/g')
    control set_permissions "$1" "^mqtt-(subscription|will)-$name(qos[01])?\$" \
        "^(amq\.topic|mqtt-(subscription|will)-$name(qos[01])?)\$" \
        "^(amq\.topic|mqtt-(subscription|will)-$name(qos[01])?)\$"
    control set_topic_permissions "$1" amq.topic \
        "^(facedetection_topic(\..*)?|facedetection_status\.$name(\.health)?)\$" \
        "^(facedetection_receipts\.$name|facedetection_control\.$name\.#)\$"
}

revoke() {
    # Without the user, nobody comes in by any of its certificates.
    control delete_user "$1"
    control close_all_user_connections "$1" "revoked"
    identities revoke "$1"
}

case ${1:-} in
enrol | renew)
    case ${2:-} in
    '') die "give the name of an edge" ;;
    *[!A-Za-z0-9_-]*) die "$2: an edge of a cluster has a name of letters, digits, dashes and underscores: RabbitMQ
takes a dot in a topic for a slash" ;;
    esac
    [ ! -t 1 ] || die "writes a tar with a key: $1 $2 > $2.tar"
    bundle=$(mktemp)
    trap 'rm -f "$bundle"' EXIT
    # The bundle first: it says what is wrong with the name.
    identities "$1" "$2" >"$bundle"
    allow "$2" >&2
    cat "$bundle"
    ;;
revoke) revoke "${2:?give the name of an edge}" ;;
enrolled) identities enrolled ;;
*) die "give enrol NAME, renew NAME, revoke NAME or enrolled" ;;
esac
