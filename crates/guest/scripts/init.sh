#!/bin/bash
# First process of a guest from its root file system on: sets up what the settings
# ask for, runs the script, reports how it ended. Lines on the control port:
#   start       the script starts
#   exit CODE   it ended
#   unmounted   what it wrote is on the disks that are kept
#   end         all its output is delivered
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root USER=root TERM=dumb LANG=C.UTF-8
. /guest/settings

# Ends the guest: its first process may not end, so this is a kernel panic, and the console goes
# to whoever waits for the guest.
fail() {
	echo "guest: $*" > /dev/console
	exit 1
}

# Waits a moment. Starting a program takes much longer than that on an emulated processor, here
# and below.
pause() {
	read -r -t 0.005 -u $idle _
}

# Sets port to the device of the virtio port named $1, once it is there.
find_port() {
	local path name tries
	for ((tries = 0; tries < 2000; tries++)); do
		for path in /sys/class/virtio-ports/*; do
			read -r name 2> /dev/null < "$path/name" || continue
			port=/dev/${path##*/}
			[[ $name = "$1" && -c $port ]] && return
		done
		pause
	done
	fail "no port $1"
}

exec {idle}<> /guest/idle
mount -a -T /guest/mounts
mkdir /sys/fs/cgroup/script
echo "$guest_name" > /proc/sys/kernel/hostname
printf '%s\n' "127.0.0.1 localhost $guest_name" '::1 localhost' '10.0.2.2 host' "${guest_hosts[@]}" > /etc/hosts
((${#guest_modules[@]})) && modprobe -q -a "${guest_modules[@]}"

for ((i = 0; i < ${#guest_networks[@]}; i++)); do
	[[ ${guest_networks[i]} = - ]] && continue
	printf '%s\n' "address add ${guest_networks[i]}.15/24 dev eth$i" "link set eth$i up"
done > /guest/links
echo 'link set lo up' >> /guest/links
ip -batch /guest/links

find_port guest.control
exec {control}<> "$port"
find_port guest.out
cat < /guest/out > "$port" &
outputs=($!)
find_port guest.err
cat < /guest/err > "$port" &
outputs+=($!)
exec {out}> /guest/out {err}> /guest/err
stdin=/dev/null
if [[ $guest_stdin ]]; then
	find_port guest.in
	stdin=$port
fi

for ((i = 0; i < ${#guest_shares[@]}; i++)); do
	((i)) || modprobe -a 9p 9pnet_virtio
	mkdir -p "${guest_shares[i]}"
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=mmap,access=client \
		"share$i" "${guest_shares[i]}" 2> /dev/console || fail "share$i is not mounted"
done

# A disk with nothing on it gets a file system: it is new, or the power failed while it was being
# made. blkid has to say that there is nothing (2); that it can't tell is no reason to write there.
kept=()
for ((i = 0; i < ${#guest_disks[@]}; i++)); do
	read -r type directory lifetime <<< "${guest_disks[i]}"
	[[ $type = raw ]] && continue
	for path in /sys/block/vd*; do
		read -r serial < "$path/serial"
		[[ $serial = "disk$i" ]] && disk=/dev/${path##*/}
	done
	blkid -p "$disk" > /dev/null
	if (($? == 2)); then
		case $type in
		ext4) mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 "$disk" ;;
		*) "mkfs.$type" -q -f "$disk" ;;
		esac > /dev/console 2>&1
	fi
	mkdir -p "$directory"
	mount -t "$type" "$disk" "$directory" 2> /dev/console || fail "disk$i is not mounted"
	[[ $lifetime = kept ]] && kept+=("$directory")
done

for ((i = 0; i < ${#guest_networks[@]}; i++)); do
	[[ ${guest_networks[i]} = - ]] && continue
	for ((tries = 0; tries < 2000; tries++)); do
		read -r carrier 2> /dev/null < "/sys/class/net/eth$i/carrier"
		[[ $carrier = 1 ]] && continue 2
		pause
	done
	fail "eth$i has no carrier"
done

cd /root
echo start >&$control
(
	echo $BASHPID > /sys/fs/cgroup/script/cgroup.procs
	exec {control}>&- {out}>&- {err}>&- {idle}<&-
	exec setsid /guest/script "${guest_arguments[@]}"
) < "$stdin" >&$out 2>&$err
code=$?
exec {out}>&- {err}>&-
echo "exit $code" >&$control
# What the script left running still holds its output.
echo 1 > /sys/fs/cgroup/script/cgroup.kill
for directory in "${kept[@]}"; do
	sync -f "$directory"
	umount "$directory" 2> /dev/null || mount -o remount,ro "$directory" 2> /dev/null
done
echo unmounted >&$control
wait "${outputs[@]}"
echo end >&$control
# The host ends the machine here.
read -r -u $control _
echo b > /proc/sysrq-trigger
