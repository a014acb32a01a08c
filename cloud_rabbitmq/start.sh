#!/bin/sh
# Starts a node in RabbitMQ's own image: lays out what belongs to this host, then calls the image's own entry point.
# It is root until then; RabbitMQ runs as its own user.
set -eu
umask 077
pki=${PKI:-/var/lib/cloud_mosquitto}
place=${PLACE:-/run/cloud_rabbitmq}
home=/var/lib/rabbitmq

# Certificates and revoked ones, in a place that RabbitMQ's user may read. RabbitMQ looks at the files again by itself.
lay_out() {
    mkdir -p "$place/crl"
    for file in ca.crt live/server.crt live/server.key crl/*.r0; do
        (cd "$pki" && for each in $file; do
            case $each in crl/*) to=$place/$each ;; *) to=$place/${each##*/} ;; esac
            if ! cmp -s "$each" "$to"; then cp "$each" "$to.new" && mv "$to.new" "$to"; fi
        done)
    done
    chown -R rabbitmq:rabbitmq "$place"
}

until [ -s "$pki/cluster/password" ] && [ -s "$pki/crl.pem" ]; do
    echo "start.sh: waiting for the CA in $pki" >&2
    sleep 1
done
lay_out
(while sleep 5; do lay_out || echo "start.sh: the certificates in $pki cannot be read; those in use stay" >&2; done) &

cp "$pki/cluster/cookie" "$home/.erlang.cookie"
chown rabbitmq:rabbitmq "$home/.erlang.cookie"
chmod 400 "$home/.erlang.cookie"

# Who comes without a certificate is inside, and may do everything. The password is for nobody to type.
password=$(cat "$pki/cluster/password")
conf=/etc/rabbitmq/conf.d/50-host.conf
{
    for user in default anonymous_login; do
        printf '%s_user = inside\n%s_pass = %s\n' $user $user "$password"
    done
    echo "default_user_tags.administrator = false"
    number=1
    for node in $CLUSTER_NODES; do
        echo "cluster_formation.classic_config.nodes.$number = rabbit@$node"
        number=$((number + 1))
    done
} >$conf
chown rabbitmq:rabbitmq $conf

exec docker-entrypoint.sh rabbitmq-server
