# In a guest that has mounted /mnt: FIO_SIZE, FILES, DBENCH_SECONDS, MODULES are set.
step() {
	local begin=$EPOCHREALTIME
	"$@" > /tmp/said 2>&1 || { cat /tmp/said; echo "failed: $*"; exit 1; }
	echo "$begin $EPOCHREALTIME $*" | awk '{ printf "%6.1f s  %s", $2 - $1, $3; for (i = 4; i <= NF && i < 9; i++) printf " %s", $i; print "" }'
}

cd /mnt
export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@localhost
export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@localhost
git config --global safe.directory '*'

# A repository: out, changed, and back.
step git clone -q /mnt/origin.git clone
step git -C clone fsck --full
cp -r clone/crates clone/more
git -C clone add more
step git -C clone commit -q -m "more"
step git -C clone push -q origin master
step git -C clone gc -q --prune=now
step git -C clone fsck --full
test -z "$(git -C clone status --porcelain)"
diff -r clone/crates clone/more

# A program of many modules, and only what has changed of it.
mkdir program
cd program
for i in $(seq $MODULES); do
	cat > module$i.c <<-END
		#include <stdio.h>
		#include <string.h>
		#include "program.h"
		int module$i(int n) { char text[64]; snprintf(text, sizeof text, "%d of %s", n, NAME); return (int)strlen(text) + $i; }
	END
done
{
	echo '#define NAME "program"'
	for i in $(seq $MODULES); do echo "int module$i(int);"; done
} > program.h
{
	echo '#include <stdio.h>'
	echo '#include "program.h"'
	echo 'int main(void) { int sum = 0;'
	for i in $(seq $MODULES); do echo "sum += module$i($i);"; done
	echo 'printf("%d\n", sum); return 0; }'
} > main.c
printf '%s\n' 'objects = $(patsubst %.c,%.o,$(wildcard module*.c))' \
	'program: main.o modules.a' '	$(CC) -o $@ $^' 'modules.a: $(objects)' '	ar cr $@ $^' \
	'$(objects) main.o: program.h' 'CFLAGS = -O1 -Wall -Werror' > Makefile
step make -j 2 program
test "$(./program)" -gt $MODULES
make -q program
touch module1.c
make -n program > /tmp/again
test "$(grep -c -- ' -c ' /tmp/again)" = 1
step make program
cd ..

# Blocks with checksums, by way of the page cache and past it, read again when nothing is cached.
mkdir fio
verified="--directory=/mnt/fio --size=$FIO_SIZE --verify=crc32c --verify_fatal=1 --verify_state_save=0"
step fio --name=mixed --rw=randrw --bsrange=512-64k --ioengine=psync --fsync=50 --norandommap=0 $verified
step fio --name=cached --rw=randwrite --bs=4k --ioengine=psync --do_verify=0 --end_fsync=1 $verified
step fio --name=direct --rw=randwrite --bs=16k --direct=1 --ioengine=libaio --iodepth=16 --do_verify=0 $verified
cd /
umount /mnt
$MOUNT
cd /mnt
step fio --name=cached --rw=randwrite --bs=4k --ioengine=psync --verify_only=1 $verified
step fio --name=direct --rw=randwrite --bs=16k --ioengine=psync --verify_only=1 $verified
rm -r fio

mkdir bench
step dbench -D bench -c /usr/share/dbench/client.txt -t $DBENCH_SECONDS 2
grep Throughput /tmp/said

mkdir mark
step fs_mark -d mark -D 10 -n $FILES -s 1000 -S 1 -k
test "$(find mark -type f -size 1000c | wc -l)" = $FILES
cd /
umount /mnt
