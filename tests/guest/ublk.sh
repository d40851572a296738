#!/bin/sh
# Block devices in user space: the tests of zcn-ublk, and file systems on what `zcn ublk` serves, with
# a server that is killed while files are written.
# kernel: 7.2
# modules: ublk_drv ext4
# programs: mkfs.ext4 e2fsck
# zcn: yes
# tests: zcn-ublk
# timeout: 450
fail() {
    echo "FAILED: $*"
    dmesg | grep -v 'I/O error' | tail -20
    exit 1
}

# Runs a server in the background, and waits until the device is there.
serve() {
    # What the one before said must not be taken for this one's.
    : >up
    zcn ublk "$@" --json >up 2>trouble &
    server=$!
    until grep -q '"up"' up; do
        kill -0 "$server" 2>/dev/null || fail "$* : $(cat trouble)"
        sleep 0.1
    done
    cat up
}

# Files whose content is known, on stable storage.
write_files() {
    for name in 1 2 3; do
        dd if=/dev/urandom of="/mnt/$name" bs=64k count=16 2>/dev/null || fail "write"
    done
    sync
    (cd /mnt && sha256sum 1 2 3) >sums
}

check_files() {
    (cd /mnt && sha256sum -c -s) <sums || fail "other files than were written $1"
}

# Writes files until one cannot be written or the file `stop` appears.
keep_writing() {
    number=0
    until [ -e stop ]; do
        number=$((number + 1))
        dd if=/dev/urandom of="/mnt/more$((number % 8))" bs=16k count=8 conv=fsync 2>/dev/null ||
            return
        echo "$number" >progress.new
        mv progress.new progress
    done
}

# Waits until so many more files have been written.
progress() {
    enough=$(($(cat progress) + $1))
    until [ "$(cat progress)" -ge $enough ]; do sleep 0.1; done
}

# What a command says as it fails.
refused() {
    says=$1
    shift
    "$@" >/dev/null 2>told && fail "$* did not fail"
    grep -q "$says" told || fail "$* said: $(cat told)"
}

for test in /tests/*; do
    echo "# ${test##*/}"
    "$test" --test-threads 1 || fail "${test##*/}"
done

echo "# a file system in memory, with two queues"
serve add --memory 64M --queues 2 --id 3
zcn ublk list
zcn ublk list --json | grep -q '"state":"live"' || fail "it is not live"
mkfs.ext4 -q /dev/ublkb3 || fail "mkfs"
mount -t ext4 /dev/ublkb3 /mnt || fail "mount"
write_files
umount /mnt
e2fsck -fn /dev/ublkb3 >/dev/null || fail "fsck"
mount -t ext4 -o discard /dev/ublkb3 /mnt || fail "mount"
check_files "in memory"
rm /mnt/3
umount /mnt
refused 'there is a ublk device 3 already' zcn ublk add --memory 1M --id 3
zcn ublk del 3 || fail "del"
wait $server || fail "the server: $(cat trouble)"
cat up
[ -e /dev/ublkb3 ] && fail "it is still there"
refused 'there is no ublk device 3' zcn ublk del 3

echo "# a file system on a file, whose server is killed, added again"
truncate -s 64M disk
serve add --file disk --queues 2 --id 4
mkfs.ext4 -q /dev/ublkb4 || fail "mkfs"
mount -t ext4 /dev/ublkb4 /mnt || fail "mount"
write_files
echo 0 >progress
keep_writing &
writer=$!
progress 5
kill -9 $server
wait $writer
umount /mnt
zcn ublk list
zcn ublk del 4 || fail "del"
serve add --file disk --queues 2 --id 4
mount -t ext4 /dev/ublkb4 /mnt || fail "the journal is not replayed"
check_files "before it was killed"
umount /mnt
e2fsck -fn /dev/ublkb4 >/dev/null || fail "fsck"
kill -TERM $server
wait $server || fail "the server: $(cat trouble)"
[ -e /dev/ublkb4 ] && fail "it is still there"

echo "# the same, taken over while files are written"
serve add --file disk --queues 2 --id 5 --recoverable
refused 'in use by another server' zcn ublk add --file disk
refused 'bytes shall stand' zcn ublk recover 5 --file up
mount -t ext4 /dev/ublkb5 /mnt || fail "mount"
write_files
keep_writing &
writer=$!
progress 5
kill -9 $server
until zcn ublk list --json | grep -q quiesced; do sleep 0.1; done
zcn ublk list
serve recover 5 --file disk
progress 5
touch stop
wait $writer
check_files "before it was taken over"
umount /mnt
e2fsck -fn /dev/ublkb5 >/dev/null || fail "fsck"
zcn ublk del 5 || fail "del"
wait $server || fail "the server: $(cat trouble)"

echo "# a device that is only read, and no driver at all"
serve add --file disk --read-only --id 6
dd if=/dev/zero of=/dev/ublkb6 bs=4k count=1 conv=fsync 2>/dev/null && fail "it was written"
e2fsck -fn /dev/ublkb6 >/dev/null || fail "fsck"
zcn ublk del 6
wait $server || fail "the server: $(cat trouble)"
rmmod ublk_drv || fail "the module is still in use"
refused 'modprobe ublk_drv' zcn ublk list
echo "# all is well"
