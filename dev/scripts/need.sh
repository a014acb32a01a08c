#!/usr/bin/env bash
# Sees to it that programs from the system's package manager are there. Quiet when they are.
#
#   dev/scripts/need.sh PACKAGE...        mosquitto (the broker and its clients), strace, spin, openssl, gcc (and libc's headers),
#                                     nftables (and ip; Linux only), chromium, qemu-system-x86, busybox-static,
#                                     gst-rtsp-server (with the system's Python's bindings), prometheus (and promtool),
#                                     nginx, libturbojpeg (Linux only)
set -euo pipefail
cd "$(dirname "$0")/../.."

# Debian and Homebrew put the broker where not everybody's PATH leads.
export PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"

# Debian's packages of these start servers: there they are only unpacked, below this folder.
servers="prometheus nginx"
unpacked="${XDG_CACHE_HOME:-$HOME/.cache}/edge_face_detection"
PATH="$PATH:$unpacked/prometheus/usr/bin:$unpacked/nginx/usr/sbin"

is_there() {
    case $1 in
    mosquitto) command -v mosquitto >/dev/null && command -v mosquitto_sub >/dev/null ;;
    gcc) echo '#include <time.h>' | gcc -E - >/dev/null 2>&1 ;;
    nftables) [ "$(uname)" != Linux ] || { command -v nft && command -v ip; } >/dev/null ;;
    qemu-system-x86) command -v qemu-system-x86_64 >/dev/null ;;
    busybox-static) command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1 ;;
    chromium) command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null ||
        command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ;;
    gst-rtsp-server) /usr/bin/python3 tests/support/rtsp_server.py 2>/dev/null ;;
    libturbojpeg) [ "$(uname)" != Linux ] || python3 -c 'import ctypes; ctypes.CDLL("libturbojpeg.so.0")' 2>/dev/null ;;
    prometheus) command -v prometheus >/dev/null && command -v promtool >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

offers_headless_shell() { [ -n "$(apt-cache policy chromium-headless-shell 2>/dev/null)" ]; }

# Chromium's headless shell starts and draws for half of the processor time. It is taken where it can be had without
# ado, though another Chromium is there.
if [[ " $* " = *" chromium "* ]] && [ "$(id -u)" = 0 ] && command -v chromium >/dev/null &&
    ! command -v chromium-headless-shell >/dev/null && offers_headless_shell; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null 2>&1 || true
fi

missing=()
for package in "$@"; do
    is_there "$package" || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0

# PACKAGE, NAMES: unpacks it; the distributions differ in which of some packages has the program.
unpack() {
    mkdir -p "$unpacked/$1"
    local name
    for name in $2; do
        (cd "$unpacked/$1" && apt-get download -qq "$name" 2>/dev/null && dpkg-deb -x "$name"_*.deb . && rm "$name"_*.deb) || return 1
        is_there "$1" && return
    done
}

if command -v apt-get >/dev/null; then
    others=()
    fetched=()
    for package in "${missing[@]}"; do
        if [[ " $servers " = *" $package "* ]]; then fetched+=("$package"); else others+=("$package"); fi
    done
    if [ ${#fetched[@]} != 0 ]; then
        # The others first: apt-get's list of packages is up to date after that.
        [ ${#others[@]} = 0 ] || dev/scripts/need.sh "${others[@]}"
        for package in "${fetched[@]}"; do
            echo "$package is missing: unpacking it into $unpacked/$package"
            names=$package
            [ "$package" != nginx ] || names="nginx nginx-light"
            unpack "$package" "$names" || { echo "It cannot be fetched: try apt-get update." >&2 && exit 1; }
            is_there "$package"
        done
        exit
    fi
fi

# How this system would install them, as words of a command.
installer=()
if command -v apt-get >/dev/null; then
    words=("${missing[@]/#mosquitto/mosquitto mosquitto-clients}")
    words=("${words[@]/#nftables/nftables iproute2}")
    words=("${words[@]/#gcc/gcc libc6-dev}")
    words=("${words[@]/#libturbojpeg/libturbojpeg0}")
    gst="gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
    installer=(apt-get install -y -qq --no-install-recommends "${words[@]/#gst-rtsp-server/$gst}")
elif command -v dnf >/dev/null; then
    installer=(dnf install -y -q "${missing[@]/#libturbojpeg/turbojpeg}")
elif command -v apk >/dev/null; then
    words=("${missing[@]/#mosquitto/mosquitto mosquitto-clients}")
    words=("${words[@]/#libturbojpeg/libjpeg-turbo}")
    installer=(apk add -q "${words[@]/#gcc/gcc musl-dev}")
elif command -v brew >/dev/null; then
    installer=(brew install -q "${missing[@]}")
else
    echo "${missing[*]} is missing, and no package manager is known here: install it, then try again." >&2
    exit 1
fi
# One of the words may have become two.
read -ra installer <<<"${installer[*]}"

root=()
if [ "${installer[0]}" != brew ] && [ "$(id -u)" != 0 ]; then
    root=(sudo -n)
    if ! sudo -n true 2>/dev/null; then
        echo "${missing[*]} is missing, and installing it needs a password. Run this, then try again:" >&2
        echo "    sudo ${installer[*]}" >&2
        exit 1
    fi
fi

echo "${missing[*]} is missing: installing it (${installer[*]})"
if [ "${installer[0]}" = apt-get ]; then
    # A list that is out of date names packages that the mirror no longer has.
    "${root[@]}" apt-get update -qq
    ! offers_headless_shell || installer=("${installer[@]/#chromium/chromium-headless-shell}")
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive "${installer[@]}" >/dev/null
else
    "${root[@]}" "${installer[@]}"
fi

for package in "${missing[@]}"; do
    if ! is_there "$package"; then
        echo "$package was installed, but is still not found in $PATH." >&2
        exit 1
    fi
done

case " ${missing[*]} " in
*" mosquitto "*)
    if command -v systemctl >/dev/null && systemctl --quiet is-active mosquitto 2>/dev/null; then
        echo "Its package has also started a broker on port 1883 of this machine, which nothing here uses."
        echo "To turn that one off: sudo systemctl disable --now mosquitto"
    fi
    ;;
esac
