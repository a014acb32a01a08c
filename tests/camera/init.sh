#!/bin/busybox sh
# The first process of the virtual machine: loads the drivers and runs the command in the host's files.
/bin/busybox --install -s /bin
mkdir /proc /dev
mount -t proc proc /proc
mount -t devtmpfs dev /dev
modprobe -a @MODULES@
ifconfig lo 127.0.0.1 up
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 host /host || exec poweroff -f
mount -t proc proc /host/proc
mount -t sysfs sys /host/sys
mount -t devtmpfs dev /host/dev
mkdir -p /host/dev/shm /host/dev/pts
mount -t tmpfs tmp /host/dev/shm
mount -t devpts pts /host/dev/pts
export TERM=dumb HOME=/dev/shm TMPDIR=/dev/shm PYTHONDONTWRITEBYTECODE=1 PATH=@PATH@
chroot /host /bin/sh -c @COMMAND@ </dev/null >/dev/ttyS1 2>&1
printf "\\x$(printf %02x $(($? + 16)))" | dd of=/dev/port bs=1 seek=244 2>/dev/null
