#!/usr/bin/env bash
# Takes the bundle that `enrol` or `renew` made on the VM. Certificate and key go into ./secrets, name and address into
# .env, and the line COMPOSE_FILE where it is missing; the rest of .env stays. It can be run again. It asks for root's
# rights by sudo, since the key must belong to the forwarder's user in its container, and to nobody else.
#
#   deploy/enrol.sh tx2-01.tar
set -euo pipefail

owner=10001
names='cloud_ca.crt cloud_client.crt cloud_client.key edge.env'

die() {
    echo "enrol: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

bundle=${1:?the bundle, such as tx2-01.tar}
[ -f "$bundle" ] || die "$bundle: no such file"
# Nothing is unpacked: the members come out of a pipe, whatever names and links the tar holds.
listed=$(head -c 65537 "$bundle" | tar -tf - 2>/dev/null | head -c 4096 | tr '\n' ' ') || true
if [ "$(stat -c %s "$bundle")" -gt 65536 ] || [ "$listed" != "$names " ]; then
    die "$bundle: is no bundle of an edge (see: enrol)"
fi

member() {
    tar -xOf "$bundle" "$1" | tr -d '\r\0'
}

# NAME KIND: a member that is one or more blocks of PEM of this kind, and nothing else.
pem() {
    local text begin='^-----BEGIN ([A-Z ]+)-----$' kind='' line count=0
    text=$(member "$1")
    while IFS= read -r line; do
        if [ -z "$kind" ]; then
            [[ $line =~ $begin && ${BASH_REMATCH[1]} == "$2" ]] || return 1
            kind=$2
        elif [ "$line" = "-----END $2-----" ]; then
            kind=''
            count=$((count + 1))
        else
            [[ $line =~ ^[A-Za-z0-9+/=]{1,76}$ ]] || return 1
        fi
    done <<<"$text"
    [ -z "$kind" ] && [ "$count" -gt 0 ] && printf '%s\n' "$text"
}

settings=$(member edge.env)
host='([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])'
form="^EDGE_ID=([A-Za-z0-9][A-Za-z0-9._-]{0,62})"$'\n'"CLOUD_MQTT_URL=mqtts://$host:[0-9]{1,5}$"
[[ $settings =~ $form ]] || die "$bundle: edge.env holds something else than a name and an address"
name=${BASH_REMATCH[1]}
if ! ca=$(pem cloud_ca.crt CERTIFICATE) || ! certificate=$(pem cloud_client.crt CERTIFICATE) ||
    ! key=$(pem cloud_client.key 'PRIVATE KEY'); then
    die "$bundle: a certificate or key in it is none"
fi

cd "$(dirname "$0")/.."
umask 077
[ -f .env ] || cp .env.edge.example .env
# An editor on Windows may have left CRLF in it.
before=$(tr -d '\r' <.env | sed -n 's/^EDGE_ID=//p' | tail -n 1)
if [ "$before" != "$name" ]; then
    echo "EDGE_ID was '$before' and is '$name' now. Faces that still wait under the old name are filed as unattributed."
fi

# The new file replaces the old one in one step, so that a reader sees one of the two as a whole.
place() {
    # shellcheck disable=SC2016 # the inner shell expands them
    as_root sh -c 'cat >"$1.new" && chown "$2" "$1.new" && chmod 600 "$1.new" && mv "$1.new" "$1"' sh "secrets/$1" $owner
}
# The container's user must be able to list the folder; each file in it has its own rights.
[ -d secrets ] || mkdir secrets
as_root chmod a+rx secrets
place cloud_client.key <<<"$key"
place cloud_client.crt <<<"$certificate"
place cloud_ca.crt <<<"$ca"

files=
if ! tr -d '\r' <.env | grep -q '^COMPOSE_FILE=.'; then
    files=docker-compose.edge.yml
    # compose/camera.yml hands over a USB camera. A camera in the network has a VIDEO_SOURCE instead.
    tr -d '\r' <.env | grep -q '^VIDEO_SOURCE=.*://' || [ -e secrets/edge_face_detection/video_source ] ||
        files=$files:compose/camera.yml
fi
cp -p .env .env.new
{
    # Older lines of these names go, comments stay.
    tr -d '\r' <.env | grep -vE "^(EDGE_ID|CLOUD_MQTT_(URL|CA_FILE|CERT_FILE|KEY_FILE)${files:+|COMPOSE_FILE})=" || true
    [ -z "$files" ] || echo "COMPOSE_FILE=$files"
    cat <<END
$settings
CLOUD_MQTT_CA_FILE=/run/secrets/cloud_ca.crt
CLOUD_MQTT_CERT_FILE=/run/secrets/cloud_client.crt
CLOUD_MQTT_KEY_FILE=/run/secrets/cloud_client.key
END
} >.env.new
mv .env.new .env
grep -q '^COMPOSE_FILE=.*docker-compose\.edge\.yml' .env ||
    echo "COMPOSE_FILE in .env does not name docker-compose.edge.yml: put it first, with a colon behind it." >&2
echo "enrolled as $name. Delete $bundle, and: docker compose up -d"
