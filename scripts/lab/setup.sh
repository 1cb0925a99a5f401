#!/bin/bash
# Prepares the lab: a Debian root with mdadm, LVM, the mkfs tools and Dovecot, a Debian
# kernel, and an initramfs, so that QEMU can build and break real arrays.
#
# Everything comes from the Debian archive by its own clients. It needs root, about three
# minutes and 3 GB below $RESTANTE_LAB (default: target/lab of this checkout). A lab that
# is already there is left as it is; `setup.sh --again` rebuilds the images.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
lab=${RESTANTE_LAB:-$here/../../target/lab}
release=bookworm
packages=mdadm,lvm2,xfsprogs,btrfs-progs,e2fsprogs,dovecot-imapd,dovecot-lmtpd,python3,kmod,iproute2,procps,zstd,cpio,gdisk

say() { echo "lab: $*" >&2; }

host_tools() {
    export DEBIAN_FRONTEND=noninteractive
    local missing=()
    for pair in qemu-system-x86_64:qemu-system-x86 debootstrap:debootstrap busybox:busybox-static \
        modprobe:kmod cpio:cpio zstd:zstd mke2fs:e2fsprogs; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
    python3 -c 'import dkim, cryptography' 2>/dev/null || pip install -q dkimpy cryptography
}

# The newest cloud kernel of the release: small, and it has md, dm, XFS and virtio.
kernel() {
    if [ ! -d k/boot ]; then
        local package
        package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/{print $2; exit}')
        apt-get download "$package" >/dev/null
        dpkg-deb -x "$package"*.deb k
    fi
    version=$(basename k/boot/vmlinuz-*)
    version=${version#vmlinuz-}
    ln -sfn "k/boot/vmlinuz-$version" vmlinuz
}

root_tree() {
    [ -d rootfs/usr ] || debootstrap --variant=minbase --include=$packages $release rootfs >debootstrap.log 2>&1
    rm -rf rootfs/lib/modules
    mkdir -p rootfs/lib/modules
    cp -r "k/lib/modules/$version" rootfs/lib/modules/
    depmod -b "$PWD/rootfs" "$version"
    cat >rootfs/vm-init <<'I'
#!/bin/bash
# Runs one job from the tar on vdb and leaves /run/out as a tar on vdc.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs t /tmp; mount -t tmpfs t /run
ip link set lo up
modprobe -a md-mod raid456 raid10 raid1 raid0 linear dm-mod dm-snapshot dm-thin-pool xfs btrfs loop 2>/dev/null
mkdir -p /run/job /run/out /run/lock
tar x -C /run/job < /dev/vdb 2>/dev/null
cd /run/job && bash -x ./job.sh > /run/out/log 2>&1; echo $? > /run/out/rc
sync; tar c -C /run/out . | dd of=/dev/vdc bs=1M conv=notrunc,fsync 2>/dev/null
sync; echo o > /proc/sysrq-trigger; sleep 9
I
    chmod +x rootfs/vm-init
}

initramfs() {
    rm -rf initrd
    mkdir -p initrd/{bin,proc,sys,dev,new,mod}
    cp "$(command -v busybox)" initrd/bin/busybox
    for module in virtio_blk virtio_pci ext4; do
        modprobe -d "$PWD/rootfs" -S "$version" --show-depends $module
    done | awk '/^insmod/ && !seen[$2]++ {print $2}' >mods.txt
    while read -r file; do
        cp "$file" initrd/mod/
        basename "$file"
    done <mods.txt >initrd/mods
    cat >initrd/init <<'I'
#!/bin/busybox sh
/bin/busybox mount -t proc p /proc; /bin/busybox mount -t sysfs s /sys; /bin/busybox mount -t devtmpfs d /dev
while read m; do /bin/busybox insmod /mod/$m; done < /mods
/bin/busybox sleep 1
/bin/busybox mount -t ext4 /dev/vda /new || { /bin/busybox ls /dev; /bin/busybox poweroff -f; }
for d in dev proc sys; do /bin/busybox mount --move /$d /new/$d; done
exec /bin/busybox switch_root /new /vm-init
I
    chmod +x initrd/init
    (cd initrd && find . | cpio -o -H newc --quiet | gzip) >initrd.gz
}

# A copy of the root tree as a file system, by bind mount so that /proc and mail stay out.
root_image() {
    mkdir -p vmroot
    rm -f root.img
    truncate -s 1600M root.img
    mount --bind rootfs vmroot
    mke2fs -q -t ext4 -d vmroot root.img || { umount vmroot; say "cannot fill root.img"; exit 1; }
    umount vmroot
}

mkdir -p "$lab"
cd "$lab"
if [ -s root.img ] && [ -s initrd.gz ] && [ -e vmlinuz ] && [ "${1:-}" != --again ]; then
    host_tools
    say "ready in $PWD"
    exit 0
fi
[ "$(id -u)" = 0 ] || { say "must run as root: debootstrap and mounts need it"; exit 1; }
host_tools
kernel
root_tree
initramfs
root_image
say "ready in $PWD"
