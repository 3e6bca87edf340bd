#!/bin/bash
# Installs the unit as the operator's guide says, and has systemd run it, in a throw-away guest:
#
#   cargo build --release -p holm
#   HOLM_GUEST_PACKAGES=systemd cargo xtask guest run packaging/try-unit.sh --disk-size 64 \
#     --file packaging:/root/packaging --file target/release/holm:/root/holm
#
# A guest has an init of its own, so systemd is the first process of a process namespace; all else,
# cgroups and privileges too, is the machine's.

set -euo pipefail

main() {
	if [[ ${1-} != inside ]]; then
		boot
	else
		install_it
		start
		clients
		reload
		comes_and_goes
		killed
		stop
		echo "the unit works"
	fi
}

# Goes on inside of what systemd runs, as soon as that has started.
boot() {
	# A cgroup with this script in it cannot be divided any further.
	local cgroup=/sys/fs/cgroup/script/machine
	mkdir "$cgroup"
	(
		echo "$BASHPID" > "$cgroup/cgroup.procs"
		# What else this image has would start with a later target, too.
		exec unshare --pid --mount --propagation shared --fork --mount-proc \
			/lib/systemd/systemd --unit=basic.target
	) < /dev/null > /dev/null 2>&1 &
	local systemd
	until systemd=$(pgrep -o -x systemd) &&
		nsenter -t "$systemd" -m -p systemctl is-system-running --wait &> /dev/null; do
		kill -0 $! || fail "systemd has ended"
	done
	exec nsenter -t "$systemd" -m -p bash "$0" inside
}

install_it() {
	step "install"
	install -m 755 /root/holm /usr/bin/
	install -m 644 /root/packaging/holm.service /etc/systemd/system/
	# A whole file system, of which every kernel gives handles; and directories.
	echo blue > /scratch/name
	mkdir -p /srv/{green,red}
	echo green > /srv/green/name
	add_netns green
	install -d /etc/holm
	cat > /etc/holm/holm.toml <<-'END'
		[ns.blue]
		listen = [{ addr = "127.0.0.1:2049" }]
		export = [{ path = "/", dir = "/scratch", squash = "none" }]

		[ns.green]
		listen = [{ addr = "127.0.0.1:2049", netns = "/run/netns/green" }]
		export = [{ path = "/", dir = "/srv/green" }]
	END
	systemctl daemon-reload
}

start() {
	step "start"
	systemctl enable --now holm
	is_active
	holm ns list
	holm -n blue export list | grep kernel
	systemctl status --no-pager holm
}

clients() {
	step "clients"
	options=vers=3,tcp,port=2049,mountport=2049,mountproto=tcp,nolock
	mkdir -p /mnt/blue /mnt/green
	mount -t nfs -o "$options" 127.0.0.1:/ /mnt/blue
	expect "$(cat /mnt/blue/name)" blue
	# As its callers, by handles of the kernel, which outlive the server.
	mkdir -m 777 /mnt/blue/open
	setpriv --reuid 1000 --regid 1000 --clear-groups touch /mnt/blue/open/file
	expect "$(stat -c %u:%g /scratch/open/file)" 1000:1000
	mknod /mnt/blue/null c 1 3
	exec 3< /mnt/blue/name
	mv /scratch/name /scratch/open/renamed
	systemctl restart holm
	is_active
	expect "$(cat <&3)" blue
	exec 3<&-
	umount /mnt/blue
	mount_in green
	expect "$(cat /mnt/green/name)" green
	umount /mnt/green
	! journalctl -o cat -u holm | grep "behind our back are not told" || fail "it may not watch files"
}

reload() {
	step "reload"
	cat >> /etc/holm/holm.toml <<-'END'

		[ns.red]
		listen = [{ addr = "127.0.0.1:2050" }]
		export = [{ path = "/", dir = "/srv/red" }]
	END
	systemctl reload holm
	is_active
	# A signal does not wait for what it asks for.
	until holm -n red export list 2> /dev/null | grep /srv/red; do is_active; done
}

# A network namespace and a file system that were not there when the server started; when the tenant
# is removed, the file system is free also where the server has it mounted.
comes_and_goes() {
	step "come and go"
	add_netns late
	mkdir -p /mnt/late /srv/late
	mount -t tmpfs late /srv/late
	echo late > /srv/late/name
	holm ns add late
	holm -n late export add / /srv/late
	holm -n late listen add 127.0.0.1:2049 --netns /run/netns/late
	mount_in late
	expect "$(cat /mnt/late/name)" late
	umount /mnt/late
	holm ns del late --wait 10
	umount /srv/late
	! grep /srv/late "/proc/$(systemctl show -P MainPID holm)/mounts" || fail "it is still mounted"
}

killed() {
	step "kill"
	local before
	before=$(systemctl show -P MainPID holm)
	systemctl kill -s KILL holm
	until systemctl -q is-active holm && [[ $(systemctl show -P MainPID holm) != "$before" ]]; do
		[[ $(systemctl show -P SubState holm) != failed ]] || fail "it was not started again"
	done
	holm ns list
}

stop() {
	step "stop"
	systemctl stop holm
	expect "$(systemctl show -P ActiveState holm)" inactive
	expect "$(systemctl show -P Result holm)" success
	expect "$(systemctl show -P ExecMainStatus holm)" 0
	! pgrep -x holm || fail "it still runs"
	[[ ! -e /run/holm ]] || fail "/run/holm is still there"
	umount /scratch
	journalctl --no-pager -o cat -u holm
}

add_netns() {
	ip netns add "$1"
	ip -n "$1" link set lo up
}

# Mounts what is served in the network namespace of this name. (ip netns exec would take a mount
# namespace of its own.)
mount_in() {
	nsenter --net="/run/netns/$1" mount -t nfs -o "$options" 127.0.0.1:/ "/mnt/$1"
}

is_active() {
	expect "$(systemctl is-active holm)" active
}

step() {
	echo "==== $1"
}

expect() {
	[[ $1 = "$2" ]] || fail "\"$1\" in place of \"$2\""
}

fail() {
	echo "failed: $1" >&2
	systemctl status --no-pager holm >&2 || true
	journalctl --no-pager -o cat -u holm >&2 || true
	exit 1
}

main "$@"
