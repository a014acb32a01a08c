#!/usr/bin/env bash
# Makes a Jetson TX2 with JetPack 4.6 (Ubuntu 18.04) ready for docker-compose.edge.yml: Docker, the compose plugin, the
# user's group, the camera's group. Can be run again: what is right already is left as it is.
#
#   deploy/tx2.sh            mends what it can; asks for root's rights by sudo
#   deploy/tx2.sh --check    changes nothing; exit status 1 if something is to be mended
# shellcheck disable=SC2329   # functions are handed over by name
set -euo pipefail

# A release that speaks to Docker 20.10. These are the sums in Docker's own images of it (docker-library/docker).
compose_version=v2.33.0
compose_sums='03a42a0fc0614ffc3c9ebca521cab75e02c427b68e45e3f6867d9510b9a28818 aarch64
6395dbb256db6ea28d5c6695bc9bc33866c07ad1c93792f8d85857f1c21c34ee x86_64'
# Another place for that file, where GitHub cannot be reached.
compose_url=${COMPOSE_URL:-https://github.com/docker/compose/releases/download/$compose_version/docker-compose-linux-$(uname -m)}
plugins=${PLUGINS:-/usr/local/lib/docker/cli-plugins}
# Gigabytes: three images while they are built, and the forwarder's outbox.
disk_needed=6

check=
case ${1:-} in
'') ;;
--check) check=yes ;;
*) echo "usage: deploy/tx2.sh [--check]" >&2 && exit 2 ;;
esac
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
# shellcheck source=deploy/dotenv.sh
. deploy/dotenv.sh
user=${SUDO_USER:-$(id -un)}
wrong=0

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

ok() { printf 'ok       %s\n' "$*"; }
changed() { printf 'mended   %s\n' "$*"; }
todo() {
    printf 'TO DO    %s\n' "$*"
    wrong=1
}

# WHAT, IS-RIGHT, MEND: the two are functions. Without --check, what is wrong is mended and then looked at again.
see_to() {
    local what=$1 is_right=$2 mend=$3
    if "$is_right"; then
        ok "$what"
    elif [ -n "$check" ]; then
        todo "$what"
    elif "$mend" && "$is_right"; then
        changed "$what"
    else
        todo "$what: could not be mended, see above"
    fi
}

apt_install() {
    as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

docker_is_there() { command -v docker >/dev/null; }
install_docker() { apt_install docker.io; }

docker_answers() { docker version >/dev/null 2>&1 || as_root docker version >/dev/null 2>&1; }
start_docker() { as_root systemctl enable --now docker; }

compose_is_v2() { docker compose version >/dev/null 2>&1; }
install_compose() {
    local sum file
    sum=$(awk -v machine="$(uname -m)" '$2 == machine { print $1 }' <<<"$compose_sums")
    [ -n "$sum" ] || { echo "no release of compose is known here for $(uname -m)" >&2 && return 1; }
    command -v curl >/dev/null || apt_install curl ca-certificates || return 1
    file=$(mktemp)
    # Nothing is put in place, let alone run, that is not exactly what was expected.
    if curl --fail --silent --show-error --location --output "$file" "$compose_url" &&
        sha256sum --check --quiet <<<"$sum  $file" >&2; then
        as_root install -D -m 755 "$file" "$plugins/docker-compose" && rm "$file"
    else
        rm -f "$file"
        return 1
    fi
}

# With an older one, Alpine's containers are denied system calls that they do not expect to be denied.
seccomp_is_new() {
    local version
    version=$(dpkg-query -W -f '${Version}' libseccomp2 2>/dev/null) && dpkg --compare-versions "$version" ge 2.4.4
}
upgrade_seccomp() { apt_install libseccomp2; }

user_may() { [ "$user" = root ] || id -nG "$user" | tr ' ' '\n' | grep -qx docker; }
add_user() { as_root usermod -aG docker "$user" && echo "log out and in again, for the group docker to count"; }

settings_are_there() { [ -f .env ]; }
copy_settings() { (umask 077 && cp .env.edge.example .env); }

camera_group_is_set() { read_env .env && [ "$(setting VIDEO_GID)" = "$group" ]; }
set_camera_group() {
    local line='^[[:blank:]]*(export[[:blank:]]+)?VIDEO_GID[[:blank:]]*[=:]'
    if grep -qE "$line" .env; then
        sed -i -E "s/$line.*/VIDEO_GID=$group/" .env
    else
        # The last line may have no end.
        [ -z "$(tail -c 1 .env)" ] || echo >>.env
        printf 'VIDEO_GID=%s\n' "$group" >>.env
    fi
}

# Cameras, as the kernel tells of them. The tests have other folders.
sysfs=${SYSFS:-/sys} devices=${DEVICES:-/dev}
is_video_device() { [ -c "$1" ] && [ "$(stat -L -c %t "$1")" = 51 ]; } # 81, Video4Linux

# DEVICE: its folder in sysfs, its name, its bus: usb, platform (the board's own) or none, and its link in by-id.
in_sysfs() { printf %s "$sysfs/class/video4linux/$(basename "$(readlink -f "$1")")"; }
camera_name() { cat "$(in_sysfs "$1")/name" 2>/dev/null || echo unknown; }
camera_bus() { basename "$(readlink -f "$(in_sysfs "$1")/device/subsystem" || echo none)"; }
gives_pictures() { [ "$(cat "$(in_sysfs "$1")/index" 2>/dev/null || echo 0)" = 0 ]; }
by_id() {
    local link
    for link in "$devices"/v4l/by-id/*; do
        [ "$(readlink -f "$link")" != "$(readlink -f "$1")" ] || { printf %s "$link" && return; }
    done
}

list_cameras() {
    local device kind id
    usb_camera=
    for device in "$devices"/video[0-9]*; do
        is_video_device "$device" || continue
        id=$(by_id "$device")
        case $(camera_bus "$device") in
        usb) gives_pictures "$device" && kind='USB camera' || kind='USB, gives no pictures' ;;
        platform) kind="the board's own" ;;
        *) kind='no hardware of its own' ;;
        esac
        [ "$kind" != 'USB camera' ] || usb_camera=${usb_camera:-${id:-$device}}
        printf 'found    %s: %s, %s%s\n' "$device" "$kind" "$(camera_name "$device")" "${id:+, $id}"
    done
}

# SETTING, DEVICE that it names.
check_camera() {
    local camera=$2 other=
    [ -z "$usb_camera" ] || other=": $1=$usb_camera in .env"
    if [ ! -e "$camera" ]; then
        todo "$camera is not there${other:-: plug a camera in; $1 in .env names another, VIDEO_SOURCE one in the network}"
    elif ! is_video_device "$camera"; then
        todo "$camera is no camera${other:-: plug one in, and name it in $1 in .env}"
    elif [ "$(camera_bus "$camera")" = platform ]; then
        todo "$camera is the board's own camera ($(camera_name "$camera")), whose raw pictures no program here can read${other:-: plug a USB camera in}"
    elif ! gives_pictures "$camera"; then
        todo "$camera belongs to a camera and gives no pictures${other}"
    else
        ok "the camera is $camera, $(camera_name "$camera")"
        [[ $camera != "$devices"/video* ]] || [ -z "$(by_id "$camera")" ] ||
            echo "         $1=$(by_id "$camera") in .env stays right when it is plugged in anew"
        group=$(stat -L -c %g "$camera")
        see_to "VIDEO_GID in .env is the group of $camera, $group" camera_group_is_set set_camera_group
    fi
}

clock_is_set() { [ "$(timedatectl show --property NTPSynchronized --value 2>/dev/null || timedatectl 2>/dev/null |
    sed -n 's/.*synchronized: //p')" = yes ]; }
set_clock() {
    as_root timedatectl set-ntp true || return 1
    # A moment, for the first answer.
    for _ in 1 2 3 4 5 6 7 8 9 10; do clock_is_set && return; sleep 1; done
    echo "the time server does not answer: certificates are checked by the clock, and faces are filed by it" >&2
    return 1
}

# The tests take single steps of it.
[ "${BASH_SOURCE[0]}" = "$0" ] || return 0

see_to "Docker is installed" docker_is_there install_docker
see_to "Docker runs, also after a restart" docker_answers start_docker
see_to "the compose plugin is v2" compose_is_v2 install_compose
see_to "libseccomp is 2.4.4 or later" seccomp_is_new upgrade_seccomp
see_to "$user may use Docker" user_may add_user
see_to ".env is there" settings_are_there copy_settings
read_env .env
camera=''
for name in "${!cut_in_env[@]}"; do
    # Not with the value: it may be a password.
    todo "$name in .env has a \$ and a word behind it, which compose takes away: put the value in single quotes, or write \$\$"
done
list_cameras
source=$(setting VIDEO_SOURCE) where='VIDEO_SOURCE is set in .env'
if [ -z "$source" ] && [ -e secrets/edge_face_detection/video_source ]; then
    source='://' where='secrets/edge_face_detection/video_source is there'
fi
if [[ $source == *://* && $(setting COMPOSE_FILE) == *compose/camera.yml* ]]; then
    todo "$where, but compose/camera.yml counts before it: take that out of COMPOSE_FILE in .env for a camera in the network"
elif [[ $source == *://* ]]; then
    ok "the camera is in the network: $where"
else
    camera=$(setting VIDEO_DEVICE)
    camera=${camera:-/dev/video0}
    check_camera VIDEO_DEVICE "$camera"
fi
second=$(setting VIDEO_DEVICE_2)
if [ -n "$second" ] && [ -n "$camera" ] && [ "$(readlink -f "$second")" = "$(readlink -f "$camera")" ]; then
    todo "VIDEO_DEVICE and VIDEO_DEVICE_2 in .env name the same camera: two programs cannot use it at once"
elif [ -n "$second" ]; then
    check_camera VIDEO_DEVICE_2 "$second"
fi
see_to "the clock is set by NTP" clock_is_set set_clock
free=$(df --output=avail -BG . | tail -n 1 | tr -dc 0-9)
if [ "$free" -ge $disk_needed ]; then
    ok "$free GB are free"
else
    todo "$free GB are free, $disk_needed are needed: docker system prune, or move Docker's data-root to a larger disk"
fi
exit $wrong
