#!/usr/bin/env bash
# Sees to it that Mosquitto, the broker, and its clients are there. Quiet when they are.
set -euo pipefail

# Debian and Homebrew put the broker where not everybody's PATH leads.
export PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"

is_there() {
    command -v mosquitto >/dev/null && command -v mosquitto_sub >/dev/null
}

# How this system would install it, as words of a command.
installer=()
if command -v apt-get >/dev/null; then
    installer=(apt-get install -y -qq --no-install-recommends mosquitto mosquitto-clients)
elif command -v dnf >/dev/null; then
    installer=(dnf install -y -q mosquitto)
elif command -v apk >/dev/null; then
    installer=(apk add -q mosquitto mosquitto-clients)
elif command -v brew >/dev/null; then
    installer=(brew install -q mosquitto)
fi

is_there && exit 0

if [ ${#installer[@]} = 0 ]; then
    echo "Mosquitto is missing: install it and its clients (https://mosquitto.org/download/), then try again." >&2
    exit 1
fi

root=()
if [ "${installer[0]}" != brew ] && [ "$(id -u)" != 0 ]; then
    root=(sudo -n)
    if ! sudo -n true 2>/dev/null; then
        echo "Mosquitto is missing, and installing it needs a password. Run this, then try again:" >&2
        echo "    sudo ${installer[*]}" >&2
        exit 1
    fi
fi

echo "Mosquitto is missing: installing it (${installer[*]})"
if [ "${installer[0]}" = apt-get ]; then
    # A list that is out of date names packages that the mirror no longer has.
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive "${installer[@]}" >/dev/null
else
    "${root[@]}" "${installer[@]}"
fi

if ! is_there; then
    echo "Mosquitto was installed, but mosquitto or mosquitto_sub is still not found in $PATH." >&2
    exit 1
fi

if command -v systemctl >/dev/null && systemctl --quiet is-active mosquitto 2>/dev/null; then
    echo "Its package has also started a broker on port 1883 of this machine, which nothing here uses."
    echo "To turn that one off: sudo systemctl disable --now mosquitto"
fi
