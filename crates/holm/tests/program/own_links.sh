# In a guest with one network card, whose tenant is at 10.0.0.1 and fd00::1. OWNER is the tenant's name, FILES
# a number. When it has mounted, it waits for a line.
set -euo pipefail

# A tree of files of all sizes, up to nine directories deep, with modes and times of their own.
cat > /tmp/tree.py <<'END'
import os, random, sys
root, owner, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
random.seed(owner)
noise = random.randbytes(1 << 20)
directories = [root]
os.mkdir(root)
for number in range(count):
    if number % 8 == 0:
        parent = random.choice([d for d in directories if d.count("/") < root.count("/") + 9])
        directories.append(f"{parent}/directory {number}")
        os.mkdir(directories[-1])
    path = f"{random.choice(directories)}/file-{number}.{owner}"
    size = random.choice([0, 1, 100, 4095, 4096, 5000, 20000, random.randrange(1 << 16)])
    start = random.randrange(len(noise) - size)
    with open(path, "wb") as file:
        file.write(noise[start:start + size])
    if number % 50 == 0:
        os.link(path, f"{path}.also")
        os.symlink(f"../{os.path.basename(path)}", f"{path}.there")
    os.chmod(path, random.choice([0o644, 0o600, 0o755, 0o444, 0o2755]))
    os.utime(path, ns=(10**18 + number, 10**18 + number * 1_000_000_007))
for directory in reversed(directories):
    os.chmod(directory, random.choice([0o755, 0o700, 0o1777]))
    os.utime(directory, ns=(10**18, 10**18 + len(directory) * 1_000_000_007))
END

# What can be said of a tree but for its files' content: times in nanoseconds, what is in links, how many names.
list() { (cd "$1" && find . -type d -printf '%p %m %T@\n' -o -printf '%p %m %T@ %y %s %n %l\n' | sort); }
same() {
	diff -r --no-dereference "$1" "$2"
	diff <(list "$1") <(list "$2")
}
# Copies as root, whom the server takes for nobody: owners are not kept.
copy() { cp -dR --preserve=mode,timestamps,links "$1" "$2"; }
connect() { mount -t nfs -o "nolock,vers=3,$1" "$2:/" /mnt; }

# Nobody else is asked whether an address is free: it is one at once.
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
ip addr add 10.0.0.2/24 dev eth0
ip addr add fd00::2/64 dev eth0
ip link set eth0 up
ping -q -c 3 -i 0.2 -w 600 10.0.0.1
ping -q -c 3 -i 0.2 -w 600 fd00::1
# Whoever is there says so, from the address that the link gave it (-L: not this machine itself).
tenant=$(ping -n -L -c 1 -w 600 ff02::1%eth0 | sed -n 's/.* from \(fe80:[^%]*\)%eth0:.*/\1/p')
ping -q -c 3 -i 0.2 -w 600 "$tenant%eth0"

# Who asks the port mapper is told where the rest is, by UDP and by TCP.
for how in udp tcp; do rpcinfo -T $how 10.0.0.1 100005 3; rpcinfo -T ${how}6 fd00::1 100005 3; done
rpcinfo -T tcp 10.0.0.1 100003 3
rpcinfo -p 10.0.0.1
rpcinfo -s fd00::1

python3 /tmp/tree.py /tmp/tree "$OWNER" "$FILES"

# As the guide has it, without a word more.
mount -t nfs -o nolock 10.0.0.1:/ /mnt
[[ $(ls /mnt) = whose && $(cat /mnt/whose) = "$OWNER" ]]
echo "mounted by $(cat /sys/class/net/eth0/address)"
read -r
copy /tmp/tree /mnt/tree
umount /mnt

connect proto=tcp6 '[fd00::1]'
same /tmp/tree /mnt/tree
copy /mnt/tree /tmp/back
same /tmp/tree /tmp/back
dd if=/dev/urandom of=/tmp/large bs=1M count=16 status=none
cp /tmp/large /mnt/large
umount /mnt

for how in mountproto=udp mountproto=tcp; do
	connect $how 10.0.0.1
	umount /mnt
done
connect proto=tcp6,mountproto=udp6 '[fd00::1]'
umount /mnt
connect proto=tcp6 "[$tenant%eth0]"
cmp /tmp/large /mnt/large
[[ $(cat /mnt/whose) = "$OWNER" ]]
[[ -z $(find /mnt -name 'file-*' ! -name "*.$OWNER*") ]]
umount /mnt
echo "$(list /tmp/tree | wc -l) names"
