# In a guest with four network cards, eth0 and eth1 to a lagg with LACP, eth2 and eth3 to one with failover.
# Each line of the standard input is a step with its number. LACP_PARTNER and MIB are set.
set -euo pipefail

# Every page is numbered, so none can be in another's place.
cat > /tmp/pages.py <<'END'
import random, sys
random.seed(2049)
block = bytearray(random.randbytes(1 << 20))
for mib in range(int(sys.argv[1])):
    for page in range(0, 1 << 20, 4096):
        block[page:page + 8] = (mib << 20 | page).to_bytes(8, "big")
    sys.stdout.buffer.write(block)
END

# Both ports are in one aggregator, the partner is who it has to be, and both ends collect and distribute.
agreed() {
	local bond=/proc/net/bonding/bond0
	[[ $(grep -c '^Aggregator ID: ' $bond) = 2 ]] &&
		[[ $(grep '^Aggregator ID: ' $bond | sort -u | wc -l) = 1 ]] &&
		[[ $(grep -c "^    system mac address: $LACP_PARTNER" $bond) = 2 ]] &&
		[[ $(grep -c '^    port state: 6[1-3]$' $bond) = 4 ]] &&
		! grep -q 'Churn State: churned' $bond
}

# The bond that is called $1 is mounted here.
place() { [[ $1 = bond0 ]] && echo /mnt/lacp || echo /mnt/failover; }
server() { [[ $1 = bond0 ]] && echo 10.0.0.1 || echo 10.1.0.1; }
connect() { mount -t nfs -o nolock,vers=3,nconnect=16 "$(server "$1"):/" "$(place "$1")"; }

ip link add bond0 type bond mode 802.3ad miimon 100 lacp_rate fast xmit_hash_policy layer3+4
ip link add bond1 type bond mode active-backup miimon 100
for i in 0 1; do ip link set eth$i down; ip link set eth$i master bond0; done
for i in 2 3; do ip link set eth$i down; ip link set eth$i master bond1; done
ip link set bond1 mtu 9000
ip addr add 10.0.0.2/24 dev bond0
ip addr add 10.1.0.2/24 dev bond1
ip link set bond0 up
ip link set bond1 up
mkdir /mnt/lacp /mnt/failover

while read -r number step bond; do
	case $step in
	agree) until agreed; do sleep 0.2; done; cat /proc/net/bonding/bond0 ;;
	use) until grep -q "Currently Active Slave: $bond" /proc/net/bonding/bond1; do sleep 0.1; done ;;
	connect)
		ping -q -c 3 -i 0.2 -w 600 "$(server "$bond")"
		connect "$bond"
		;;
	# Nothing is left of what it knew.
	again) umount "$(place "$bond")"; connect "$bond" ;;
	write) python3 /tmp/pages.py "$MIB" | dd of="$(place "$bond")/pages" bs=1M iflag=fullblock conv=fsync ;;
	read) python3 /tmp/pages.py "$MIB" | cmp - "$(place "$bond")/pages" ;;
	end) umount /mnt/lacp /mnt/failover; exit ;;
	esac
	read -r now _ < /proc/uptime
	echo "at $now s: $step $bond"
	echo "done: $number"
done
