#!/usr/bin/env bash
# Sets up an Ubuntu machine with Docker as the VM in the cloud: firewall, settings, the stack, and its weekly build.
# cloud-init.yaml calls it. On a machine that exists already, call it yourself. It can be run again at any time.
#
#   sudo deploy/vm.sh
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
checkout=$PWD

die() {
    echo "vm: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || die "needs root: sudo $0"
for program in docker git nft systemctl; do
    command -v "$program" >/dev/null || die "$program is missing: apt-get install docker.io docker-compose-v2 git nftables"
done
docker compose version >/dev/null || die "the compose plugin is missing: apt-get install docker-compose-v2"

# The firewall comes first, so that no port is ever open without it. It is not nftables.service: a restart of that one
# throws away Docker's rules.
nft --check --file deploy/firewall.nft
install -D -m 644 deploy/firewall.nft /etc/facedetection/firewall.nft
for unit in facedetection-firewall.service facedetection-update.service facedetection-update.timer; do
    sed "s|@CHECKOUT@|$checkout|g" "deploy/$unit" >"/etc/systemd/system/$unit"
done
systemctl daemon-reload
systemctl enable --quiet facedetection-firewall.service
systemctl restart facedetection-firewall.service

umask 077
if [ ! -e .env ]; then
    if [ -e /etc/facedetection.env ]; then
        tr -d '\r' </etc/facedetection.env | grep -vE '^(#|REPOSITORY=|REVISION=)' >.env
    else
        cp .env.cloud.example .env
    fi
fi
# An editor may have left CRLF in it, or no end of the last line.
sed -i 's/\r$//' .env
[ -z "$(tail -c 1 .env)" ] || echo >>.env
# The compose files of this host: `docker compose` and the timer take them from here.
grep -q '^COMPOSE_FILE=.' .env || echo COMPOSE_FILE=docker-compose.cloud.yml >>.env
grep -q '^COMPOSE_FILE=.*docker-compose\.cloud\.yml' .env ||
    die "COMPOSE_FILE in .env does not name docker-compose.cloud.yml: add it, with a colon between"

# The containers look for their secrets in here. They may list the folder; each file belongs to the user that reads it.
install -d -m 755 secrets secrets/cloud_mosquitto

# The saver comes up when it has its settings. Until then it says what is missing, and starts again.
docker compose up --detach --build
systemctl enable --quiet --now facedetection-update.timer
echo "vm: the stack is up. What it still lacks: docker compose logs cloud_saver"
