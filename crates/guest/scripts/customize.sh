# Runs on the root file system ($1) of an image in the making, as its root.
# Before this text: modules, boot_modules and stage1 are set.
set -eu
root=$1
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
work=$root/boot/guest
mkdir -p "$work"
chmod 755 "$work"
cd "$work"

# The kernel is unpacked and not installed: installing it would bring the tools
# for an initramfs and make one, which takes longer than all the rest.
package=$(apt-cache depends linux-image-amd64 |
	sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
[ -n "$package" ] || { echo "linux-image-amd64 names no kernel package"; exit 1; }
apt-get -q -o APT::Sandbox::User=root download "$package"
dpkg-deb -x "$package"_*.deb unpacked
cp unpacked/boot/vmlinuz-* vmlinuz
for from in unpacked/lib/modules/* unpacked/usr/lib/modules/*; do
	[ -d "$from/kernel" ] && break
done
version=${from##*/}
to=$root/lib/modules/$version
mkdir -p "$to/kernel"
cp "$from"/modules.builtin "$from"/modules.builtin.modinfo "$from"/modules.order "$to"
for module in $modules; do
	for path in "$module" "$module.xz" "$module.zst"; do
		[ -e "$from/kernel/$path" ] || continue
		mkdir -p "$to/kernel/$(dirname "$path")"
		cp -r "$from/kernel/$path" "$to/kernel/$(dirname "$path")/"
	done
done
chroot "$root" depmod "$version"
echo "$version" > version

# The initramfs: what it takes to reach the root disk.
mkdir -p initrd/bin initrd/modules
cp "$root/bin/busybox" initrd/bin/
for module in $boot_modules; do
	chroot "$root" modprobe -D -S "$version" "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r path; do
	name=${path##*/}
	case $name in
	*.xz) name=${name%.xz}; xz -dc "$root$path" > "initrd/modules/$name" ;;
	*.zst) name=${name%.zst}; zstd -q -dc "$root$path" > "initrd/modules/$name" ;;
	*) cp "$root$path" initrd/modules/ ;;
	esac
	echo "$name" >> initrd/modules/list
done
printf '%s' "$stage1" > initrd/init
chmod 755 initrd/init
(cd initrd && find . | "$root/bin/busybox" cpio -o -H newc) > initrd.cpio
rm -rf unpacked initrd "$package"_*.deb

# What a guest's init would otherwise do at every boot.
mkdir -p "$root/guest/dev" "$root/mnt" "$root/scratch" "$root/run/rpcbind" \
	"$root/run/sendsigs.omit.d"
ln -s /proc/self/fd "$root/guest/dev/fd"
for name in 0:stdin 1:stdout 2:stderr; do
	ln -s "/proc/self/fd/${name%:*}" "$root/guest/dev/${name#*:}"
done
cat > "$root/guest/mounts" <<'END'
devpts /dev/pts devpts X-mount.mkdir 0 0
shm /dev/shm tmpfs X-mount.mkdir 0 0
tmp /tmp tmpfs mode=1777 0 0
cgroup /sys/fs/cgroup cgroup2 defaults 0 0
END
cat > "$root/etc/modprobe.d/guest.conf" <<'END'
options bonding max_bonds=0
options dummy numdummies=0
options ifb numifbs=0
END
ln -sf /proc/self/mounts "$root/etc/mtab"
: > "$root/etc/resolv.conf"
