# In a guest that has mounted /mnt: works on while its server is killed ROUNDS times.
cd /mnt
mkdir files fio

# Blocks with checksums, all the time.
(
	while ! test -e /tmp/enough; do
		fio --name=kept --directory=/mnt/fio --size=1m --rw=randrw --bs=4k --fsync=20 \
			--verify=crc32c --verify_fatal=1 --verify_state_save=0 --ioengine=psync > /tmp/fio 2>&1 ||
			{ cat /tmp/fio; exit 1; }
	done
) &
checked=$!

# Files that are made, renamed, cut, removed; what is in them is known here only.
number=0
work() {
	number=$((number + 1))
	head -c $((RANDOM * 4 + 1)) /dev/urandom > /tmp/piece
	cp /tmp/piece files/new
	sync files/new
	# Done, and then retried at a server that does not know of it, it may say that there is none.
	mv files/new files/$number 2> /tmp/mv || test -e files/$number
	cmp /tmp/piece files/$number
	sha256sum files/$number >> /tmp/sums
	: > files/gone
	rm -f files/gone 2> /tmp/rm || test ! -e files/gone
	ln files/$number files/link 2> /tmp/ln || test -e files/link
	rm -f files/link 2> /tmp/rm || test ! -e files/link
}

for round in $(seq $ROUNDS); do
	work
	work
	echo "round $round"
	work
	work
done
: > /tmp/enough
wait $checked
cd /
echo 3 > /proc/sys/vm/drop_caches
cd /mnt
sha256sum --check --quiet /tmp/sums
cd /
umount /mnt
echo SUMS
cat /tmp/sums
