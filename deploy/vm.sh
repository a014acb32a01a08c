#!/usr/bin/env bash
# Makes an Ubuntu machine with Docker the one in the cloud: firewall, settings, the stack, and its weekly renewal.
# cloud-init.yaml calls it; on a machine that exists already, call it yourself. Can be run again at any time.
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

# First of all, so that nothing is ever open meanwhile. Not nftables.service: a restart of it throws away Docker's rules.
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
# What the timer builds anew and starts; who uses further compose files names them here, with colons between.
# An editor may have left CRLF in it, or no end of the last line.
sed -i -e 's/\r$//' -e '$a\' .env
grep -q '^COMPOSE_FILE=' .env || echo COMPOSE_FILE=docker-compose.cloud.yml >>.env

# The containers look for their secrets in here; each file belongs to the one that may read it.
chmod 755 secrets
install -d -m 755 secrets/cloud_mosquitto

# The saver comes up when it has its settings; until then it says what is missing, and starts again.
docker compose up --detach --build
systemctl enable --quiet --now facedetection-update.timer
echo "vm: the stack is up. What it still lacks: docker compose logs cloud_saver"
