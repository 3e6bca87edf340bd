#!/bin/busybox sh
# First process of a guest: finds the root disk, lays a tmpfs over it, unpacks the
# payload into that and goes on with the init that came in the payload.
b=/bin/busybox
$b mkdir -p /dev /proc /sys /lower /upper /new
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
while read -r module; do
	$b insmod "/modules/$module" || echo "guest: module $module refused"
done < /modules/list

# Sets disk to the device with the serial number $1, once it is there.
find_disk() {
	tries=0
	while [ $tries -lt 500 ]; do
		for path in /sys/block/vd*; do
			read -r serial < "$path/serial"
			disk=/dev/${path##*/}
			[ "$serial" = "$1" ] && [ -b "$disk" ] && return
		done
		$b usleep 5000
		tries=$((tries + 1))
	done
	echo "guest: no disk $1"
	exit 1
}

find_disk root
$b mount -t squashfs -o ro "$disk" /lower
$b mount -t tmpfs -o size=75% upper /upper
$b mkdir /upper/upper /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work root /new
find_disk payload
$b tar -x -f "$disk" -C /new
$b cp -dR /new/guest/dev/. /dev
for directory in dev proc sys; do
	$b mount --move "/$directory" "/new/$directory"
done
exec $b switch_root /new /guest/init
