#!/bin/sh
# The cloud broker's own certificates: its CA and its server certificate, and the checks before either is used.
# For `identities`, which sets the name that messages begin with.

pki=${PKI:-/var/lib/cloud_mosquitto}
# A certificate of one's own: server.crt (with its chain), server.key, and server.ca.crt, the CA that edges trust.
secrets=${SECRETS:-/run/secrets}
own=$secrets/server
ca_days=3650
server_days=397
soon=$((30 * 86400))
name=${name:-}
# Whom a certificate is for, which openssl.cnf asks for.
CERTIFIED=nobody
export CERTIFIED

die() {
    echo "$name: $*" >&2
    exit 1
}

# openssl without its progress; what it says is shown where it fails.
quietly() {
    said=$(openssl "$@" 2>&1) || die "openssl $1: $said"
}

new_key() {
    quietly genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

# NAME KIND DAYS FOLDER: a new key and its certificate, FOLDER/new.key and FOLDER/new.crt.
issue() {
    CERTIFIED=$1
    new_key "$4/new.key"
    quietly req -new -config "$pki/openssl.cnf" -key "$4/new.key" -subj "/CN=$1" -out "$4/new.csr"
    quietly ca -batch -notext -config "$pki/openssl.cnf" -extensions "$2" -days "$3" -in "$4/new.csr" -out "$4/new.crt"
    rm "$4/new.csr"
}

publish_crl() {
    # Its end is far away: a list that nobody has renewed must not lock everybody out.
    quietly ca -gencrl -config "$pki/openssl.cnf" -crldays "$ca_days" -out "$pki/crl.new"
    # By the name under which a node of a cluster looks for it.
    mkdir -p "$pki/crl"
    cp "$pki/crl.new" "$pki/crl/new"
    mv "$pki/crl/new" "$pki/crl/$(openssl x509 -in "$pki/ca.crt" -noout -hash).r0"
    mv "$pki/crl.new" "$pki/crl.pem"
}

# The server's names and addresses as a certificate has them; the broker's own name within hw03 is one of them.
server_names() {
    printf 'DNS:cloud_mosquitto,DNS:localhost,IP:127.0.0.1'
    for address in $(echo "${CLOUD_ADDRESS:-}" | tr ',\r' '  '); do
        case $address in
        *[!A-Za-z0-9.:_-]*) die "CLOUD_ADDRESS: '$address' is neither a host's name nor an address" ;;
        *:*:*) printf ',IP:%s' "$address" ;;
        *:*) die "CLOUD_ADDRESS: '$address' has a port; edges always connect to 8883" ;;
        *[A-Za-z]*) printf ',DNS:%s' "$address" ;;
        *) printf ',IP:%s' "$address" ;;
        esac
    done
}

configure_openssl() {
    cat >"$pki/openssl.cnf" <<END
[req]
distinguished_name = nobody
[nobody]
[ca]
default_ca = edges
[edges]
database = $pki/index.txt
new_certs_dir = $pki/issued
certificate = $pki/ca.crt
private_key = $pki/ca.key
rand_serial = yes
unique_subject = no
default_md = sha256
policy = name
[name]
commonName = supplied
[authority]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[edge]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
# The client id, where the broker is a cluster; Mosquitto goes by the common name.
subjectAltName = DNS:\$ENV::CERTIFIED
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = $1
END
}

# FILE: why it cannot be used; nothing where it can.
trouble() {
    if [ -L "$1" ] && [ ! -e "$1" ]; then
        echo "cannot be read: it is a link to $(readlink "$1"), which is not there"
    elif [ ! -e "$1" ]; then
        echo "cannot be read: it is missing"
    elif [ -d "$1" ]; then
        echo "cannot be read: it is a folder; Docker makes one where it is told to mount a file that is not there"
    elif [ ! -f "$1" ]; then
        echo "cannot be read: it is no file"
    elif [ ! -r "$1" ]; then
        echo "cannot be read by user $(id -u)"
    elif [ ! -s "$1" ]; then
        echo "cannot be read: it is empty"
    fi
}

# CERTIFICATE KEY: what is wrong with the pair, and with which file; nothing where all is well.
pair_trouble() {
    for file; do
        why=$(trouble "$file")
        [ -z "$why" ] || { echo "$file: $why" && return; }
    done
    # No password is asked for: nobody is there to type one.
    if ! certified=$(openssl x509 -in "$1" -noout -pubkey 2>/dev/null); then
        echo "$1: holds no certificate"
    elif ! held=$(openssl pkey -in "$2" -passin pass: -pubout 2>/dev/null); then
        echo "$2: holds no key without password"
    elif [ "$certified" != "$held" ]; then
        echo "$1, $2: are not a certificate and its key"
    fi
}

# Whether something lies at this name, be it a link that leads nowhere.
lies() {
    [ -e "$1" ] || [ -L "$1" ]
}

# Whether somebody has given a certificate of one's own, good or not.
own_given() {
    for place in "$(dirname "$secrets")" "$secrets"; do
        if lies "$place" && ! { [ -d "$place" ] && [ -x "$place" ]; }; then
            die "$place: user $(id -u) cannot look into it for a certificate; make it a folder with mode 755"
        fi
    done
    lies "$own.crt" || lies "$own.key" || lies "$own.ca.crt"
}

# Ends where a certificate of one's own cannot be used. What is in use stays.
check_own() {
    why=$(trouble "$own.ca.crt")
    [ -z "$why" ] || why="$own.ca.crt: $why"
    [ -n "$why" ] || openssl x509 -in "$own.ca.crt" -noout 2>/dev/null || why="$own.ca.crt: holds no certificate"
    pair=$(pair_trouble "$own.crt" "$own.key")
    why=${pair:-$why}
    [ -z "$why" ] || die "$why. Give server.crt, server.key and server.ca.crt, readable by user $(id -u), or none"
}

# Makes a CA where there has never been one. Only the last step shows it, so that a start that breaks off leaves none.
make_ca() {
    : >"$pki/index.txt"
    new_key "$pki/ca.key.new"
    quietly req -x509 -new -config "$pki/openssl.cnf" -extensions authority -key "$pki/ca.key.new" -days "$ca_days" \
        -subj "/CN=faces $(date -u +%Y-%m-%d)" -out "$pki/ca.new"
    mv "$pki/ca.key.new" "$pki/ca.key"
    mv "$pki/ca.new" "$pki/ca.crt"
    echo "$name: made a CA, in $pki"
}

# Ends where part of the CA is gone. A new one would lock out all edges, and let the revoked ones in.
check_ca() {
    why=$(pair_trouble "$pki/ca.crt" "$pki/ca.key")
    # The list is empty until the first certificate is made.
    [ -n "$why" ] || { [ -f "$pki/index.txt" ] && [ -r "$pki/index.txt" ]; } ||
        why="$pki/index.txt: cannot be read, or is missing"
    if [ -z "$why" ] && [ ! -s "$pki/index.txt" ] && [ -n "$(ls -A "$pki/issued")" ]; then
        why="$pki/index.txt: is empty, and $pki/issued is not"
    fi
    [ -z "$why" ] || die "$why. The CA is not whole, and no new one is made over it: bring this volume back from its
copy (docs/certificates.md), or empty it and enrol all edges anew"
}

# CA, server certificate and revocation list, made where they are missing, renewed where it is time.
prepare() {
    mkdir -p "$pki/issued" "$pki/live" 2>/dev/null && [ -w "$pki" ] ||
        die "$pki: cannot be written; give it to user $(id -u)"
    exec 9>"$pki/lock"
    flock 9
    if own_given; then check_own; fi
    names=$(server_names)
    configure_openssl "$names"
    # A first start that broke off between the two steps.
    if [ -f "$pki/ca.new" ] && [ -f "$pki/ca.key" ] && ! lies "$pki/ca.crt"; then mv "$pki/ca.new" "$pki/ca.crt"; fi
    if lies "$pki/ca.crt" || lies "$pki/ca.key" || [ -n "$(ls -A "$pki/issued")$(ls -A "$pki/live")" ]; then
        check_ca
    else
        make_ca
    fi
    if own_given; then
        use_own
    elif lies "$pki/live/own"; then
        die "$own.crt: is gone, and edges trust it. Put it back. To have the broker make its own again, remove
$pki/live/own and renew all edges, who need its CA then"
    elif [ "$(cat "$pki/live/names" 2>/dev/null)" != "$names" ] || ! lasts "$pki/live/server.crt" ||
        [ -n "$(pair_trouble "$pki/live/server.crt" "$pki/live/server.key")" ]; then
        issue cloud_mosquitto server "$server_days" "$pki/live"
        rm -f "$pki/live/names"
        mv "$pki/live/new.key" "$pki/live/server.key"
        mv "$pki/live/new.crt" "$pki/live/server.crt"
        echo "$names" >"$pki/live/names"
        echo "$name: made a server certificate for $names"
    fi
    lasts "$pki/ca.crt" || echo "$name: the CA ends within 30 days: see docs/certificates.md" >&2
    publish_crl
    exec 9>&-
}

# The copies are what the broker reads: the last good ones stay in use when the originals are not.
use_own() {
    : >"$pki/live/own"
    rm -f "$pki/live/names"
    cp "$own.key" "$pki/live/new.key"
    cp "$own.crt" "$pki/live/new.crt"
    mv "$pki/live/new.key" "$pki/live/server.key"
    mv "$pki/live/new.crt" "$pki/live/server.crt"
    lasts "$own.crt" || echo "$name: $own.crt ends within 30 days: put a new one there" >&2
    openssl verify -no_check_time -partial_chain -CAfile "$own.ca.crt" -untrusted "$own.crt" "$own.crt" \
        >/dev/null 2>&1 ||
        echo "$name: $own.ca.crt did not sign $own.crt: edges that trust the one refuse the other" >&2
}

lasts() {
    openssl x509 -in "$1" -noout -checkend "$soon" >/dev/null 2>&1
}
