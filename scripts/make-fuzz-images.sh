#!/bin/bash
# Makes the small images that the fuzz targets change: fixtures/fuzz/*.img.zst. Takes root, for
# loop mounts. Two runs are not equal byte for byte; what matters is that each structure is there:
# long directories, files in many pieces, long and short links, holes, deleted files.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
out=$PWD/fixtures/fuzz
work=$(mktemp -d)
trap 'umount "$work/mount" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir -p "$out" "$work/mount" "$work/tree"

# fill DIRECTORY: what is on every image.
fill() {
    local box=$1/vmail/quarry.example/ada/Maildir name
    mkdir -p "$box"/{cur,new,tmp} "$box"/.Sent/{cur,new}
    for n in $(seq 1 40); do
        name=14010000$(printf %02d "$n").M${n}P1.imap,S=$((n * 61)),W=$((n * 62)):2,S
        printf 'Subject: letter %d\n\nThe tide turns at %d.\n' "$n" "$n" >"$box/cur/$name"
    done
    seq 1 9000 >"$box/.Sent/cur/1401000099.M1P1.imap:2,"
    ln -s short "$1/link"
    ln -s "$(printf 'x%.0s' $(seq 1 200))" "$1/long-link"
    truncate -s 300k "$1/sparse" && printf end >>"$1/sparse"
    printf '3 V1 N41 Gaa\n1 :1401000001.M1P1.imap\n' >"$box/dovecot-uidlist"
}

# scatter DIRECTORY: a file in many pieces, and deleted files.
scatter() {
    local n
    for n in $(seq 1 30); do
        head -c 4096 /dev/zero | tr '\0' a >>"$1/pieces"
        head -c 4096 /dev/zero | tr '\0' b >"$1/between-$n"
        sync -f "$1"
    done
    rm -f "$1"/between-* "$1"/vmail/quarry.example/ada/Maildir/cur/*M7P1*
}

# pack NAME IMAGE
pack() { zstd -q -19 -f "$2" -o "$out/$1.img.zst"; }

# kernel NAME KIB MKFS...: an image that is filled through the kernel.
kernel() {
    local name=$1 kib=$2 image=$work/$1.img
    shift 2
    truncate -s "${kib}K" "$image"
    "$@" "$image" >/dev/null
    mount -o loop "$image" "$work/mount"
    fill "$work/mount"
    sync -f "$work/mount"
    scatter "$work/mount"
    umount "$work/mount"
    pack "$name" "$image"
}

kernel ext4 3072 mkfs.ext4 -q -F -b 1024 -N 256 -g 1024
kernel ext4_2014 3072 mkfs.ext4 -q -F -b 1024 -N 256 -g 1024 -O '^metadata_csum,^64bit,^orphan_file'
kernel ext3 3072 mkfs.ext3 -q -F -b 1024 -N 256
kernel xfs_v5 20480 mkfs.xfs -q -f --unsupported -d agcount=1
kernel btrfs 16384 mkfs.btrfs -q -f --mixed

# Kernels no longer mount v4: mkfs lays the files down.
fill "$work/tree"
list() {
    local path name
    for path in "$1"/*; do
        name=${path##*/}
        if [ -L "$path" ]; then echo "$name l--777 0 0 $(readlink "$path")"
        elif [ -d "$path" ]; then echo "$name d--755 0 0"; list "$path"
        elif [ -f "$path" ]; then echo "$name ---644 0 0 $path"
        fi
    done
    shopt -s nullglob
    for path in "$1"/.[!.]*; do echo "${path##*/} d--755 0 0"; list "$path"; done
    echo '$'
}
{ echo /; echo 0 0; echo d--755 0 0; list "$work/tree"; } >"$work/v4.list"
truncate -s 20M "$work/xfs_v4.img"
mkfs.xfs -q -f --unsupported -m crc=0 -d agcount=1 -p "$work/v4.list" "$work/xfs_v4.img"
pack xfs_v4 "$work/xfs_v4.img"

# A disk whose labels lead to each other.
tar --zstd -xf fixtures/lvm/gpt-md.tar.zst -C "$work" a.img
pack labels "$work/a.img"

# A disk of a controller's mirror.
tar --zstd -xf fixtures/ddf/arrays.tar.zst -C "$work" raid1
truncate -s 34603008 "$work/ddf"
for piece in "$work"/raid1/00@*; do
    dd if="$piece" of="$work/ddf" bs=4096 seek=$((${piece##*@} / 4096)) conv=notrunc status=none
done
pack ddf "$work/ddf"

# Encrypted disks with a short key that is made quickly. What cryptsetup fills the other slots with is noise.
encrypt() {
    local version=$1 slot=$2
    shift 2
    truncate -s 3M "$work/luks$version"
    printf restante | cryptsetup luksFormat -q --type "luks$version" --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
        --cipher aes-cbc-essiv:sha256 --key-size 128 "$@" "$work/luks$version" - 2>/dev/null
    fallocate -z -o $((slot + 128 * 512)) -l $((2097152 - slot - 128 * 512)) "$work/luks$version"
    printf restante | cryptsetup open --test-passphrase "$work/luks$version" -
    pack "luks$version" "$work/luks$version"
}
encrypt 1 4096
encrypt 2 32768 --luks2-metadata-size 16k --luks2-keyslots-size 256k --offset 4096
scripts/bitlocker_image.py "$work/bitlocker"
pack bitlocker "$work/bitlocker"

# A small disk in each container: text, zeros, and what does not pack.
{ seq 1 9000; head -c 64K /dev/zero; head -c 16K /dev/urandom; head -c 40K /dev/zero; seq 1 3000; } >"$work/disk"
truncate -s 192K "$work/disk"
acquire() { ewfacquire -q -u -S 1048576 "$@" -t "$work/ewf" "$work/disk" >/dev/null; }
acquire -d sha1 -c best -b 16 && pack ewf "$work/ewf.E01"
rm -f "$work"/ewf.*
acquire -f encase6 -c none -b 64 && pack ewf_stored "$work/ewf.E01"
acquire -f smart -c best && pack smart "$work/ewf.s01"
convert() {
    local name=$1 format=$2
    shift 2
    qemu-img convert -f raw -O "$format" "$@" "$work/disk" "$work/$name"
    pack "$name" "$work/$name"
}
convert qcow2 qcow2 -c -o cluster_size=4k
convert qcow2_zstd qcow2 -c -o cluster_size=64k,compression_type=zstd
convert vhd vpc
convert vhd_fixed vpc -o subformat=fixed
convert vhdx vhdx -o block_size=1M
convert vmdk vmdk -o subformat=streamOptimized
convert vdi vdi
printf '%s\n' '# Disk DescriptorFile' 'version=1' 'CID=1' 'parentCID=ffffffff' 'createType="twoGbMaxExtentFlat"' \
    'RW 16 FLAT "image-f001.vmdk" 0' 'RW 8 ZERO' >"$work/vmdk_text"
pack vmdk_text "$work/vmdk_text"
ls -l "$out"
