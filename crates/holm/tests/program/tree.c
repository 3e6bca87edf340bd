/* Copies trees over NFS with libnfs, and compares them: tree put|get|same URL DIRECTORY */

#include <sys/types.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <nfsc/libnfs.h>

enum { PATH_SIZE = 8192, PIECE = 200003, BLOCK = 10007, OUTSTANDING = 32 };

static struct nfs_context *nfs;

static void die(const char *format, ...)
{
	va_list values;

	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fprintf(stderr, "\n");
	exit(1);
}

/* The result of a call of libnfs, which must have succeeded. */
static int must(int result, const char *what, const char *path)
{
	if (result < 0)
		die("%s %s: %s (%s)", what, path, strerror(-result), nfs_get_error(nfs));
	return result;
}

static void here_must(int result, const char *what, const char *path)
{
	if (result < 0)
		die("%s %s: %s", what, path, strerror(errno));
}

static void join(char *path, const char *directory, const char *name)
{
	if (snprintf(path, PATH_SIZE, "%s/%s", strcmp(directory, "/") ? directory : "", name) >= PATH_SIZE)
		die("%s/%s is too long", directory, name);
}

static int is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Files with several names: where the first of them went. */
static struct known {
	struct known *next;
	uint64_t inode;
	char path[];
} *known;

static const char *first_name(uint64_t inode, const char *path)
{
	struct known *one;

	for (one = known; one; one = one->next)
		if (one->inode == inode)
			return one->path;
	one = malloc(sizeof *one + strlen(path) + 1);
	one->inode = inode;
	strcpy(one->path, path);
	one->next = known;
	known = one;
	return NULL;
}

static void put_file(const char *from, const char *to, const struct stat *stat)
{
	static char buffer[PIECE];
	struct nfsfh *file;
	uint64_t offset = 0;
	ssize_t count;
	int here = open(from, O_RDONLY);

	here_must(here, "open", from);
	must(nfs_create(nfs, to, O_EXCL, stat->st_mode & 0777, &file), "create", to);
	while ((count = read(here, buffer, sizeof buffer)) > 0) {
		int done = 0;
		while (done < count)
			done += must(nfs_pwrite(nfs, file, offset + done, count - done, buffer + done), "write", to);
		offset += count;
	}
	here_must(count, "read", from);
	must(nfs_fsync(nfs, file), "fsync", to);
	must(nfs_close(nfs, file), "close", to);
	close(here);
}

static void put(const char *from, const char *to)
{
	char here[PATH_SIZE], there[PATH_SIZE], target[PATH_SIZE];
	struct dirent *entry;
	DIR *directory = opendir(from);

	here_must(directory ? 0 : -1, "opendir", from);
	while ((entry = readdir(directory))) {
		struct stat stat;
		const char *other;

		if (is_dots(entry->d_name))
			continue;
		join(here, from, entry->d_name);
		join(there, to, entry->d_name);
		here_must(lstat(here, &stat), "lstat", here);
		if (!S_ISDIR(stat.st_mode) && stat.st_nlink > 1 && (other = first_name(stat.st_ino, there))) {
			must(nfs_link(nfs, other, there), "link", there);
			continue;
		}
		if (S_ISLNK(stat.st_mode)) {
			ssize_t length = readlink(here, target, sizeof target - 1);
			here_must(length, "readlink", here);
			target[length] = 0;
			must(nfs_symlink(nfs, target, there), "symlink", there);
			continue;
		}
		if (S_ISDIR(stat.st_mode)) {
			must(nfs_mkdir2(nfs, there, 0700), "mkdir", there);
			put(here, there);
		} else if (S_ISREG(stat.st_mode)) {
			put_file(here, there, &stat);
		} else {
			must(nfs_mknod(nfs, there, stat.st_mode, stat.st_rdev), "mknod", there);
		}
		struct timeval times[2] = {
			{ stat.st_atim.tv_sec, stat.st_atim.tv_nsec / 1000 },
			{ stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec / 1000 },
		};
		must(nfs_utimes(nfs, there, times), "utimes", there);
		must(nfs_chmod(nfs, there, stat.st_mode & 07777), "chmod", there);
	}
	closedir(directory);
}

static void get_file(const char *from, const char *to, const struct nfs_stat_64 *stat)
{
	static char buffer[PIECE];
	struct nfsfh *file;
	uint64_t offset = 0;
	int count, here = open(to, O_WRONLY | O_CREAT | O_EXCL, 0600);

	here_must(here, "create", to);
	must(nfs_open(nfs, from, O_RDONLY, &file), "open", from);
	while ((count = must(nfs_pread(nfs, file, offset, sizeof buffer, buffer), "read", from)) > 0) {
		here_must(pwrite(here, buffer, count, offset) == count ? 0 : -1, "write", to);
		offset += count;
	}
	if (offset != stat->nfs_size)
		die("%s: %llu bytes of %llu", from, (unsigned long long)offset, (unsigned long long)stat->nfs_size);
	must(nfs_close(nfs, file), "close", from);
	close(here);
}

static void get(const char *from, const char *to)
{
	char here[PATH_SIZE], there[PATH_SIZE], target[PATH_SIZE];
	struct nfsdir *directory;
	struct nfsdirent *entry;

	must(nfs_opendir(nfs, from, &directory), "opendir", from);
	while ((entry = nfs_readdir(nfs, directory))) {
		struct nfs_stat_64 stat;
		const char *other;

		if (is_dots(entry->name))
			continue;
		join(there, from, entry->name);
		join(here, to, entry->name);
		must(nfs_lstat64(nfs, there, &stat), "lstat", there);
		if (stat.nfs_ino != entry->inode || stat.nfs_size != entry->size)
			die("%s: listed as another", there);
		if (!S_ISDIR(stat.nfs_mode) && stat.nfs_nlink > 1 && (other = first_name(stat.nfs_ino, here))) {
			here_must(link(other, here), "link", here);
			continue;
		}
		if (S_ISLNK(stat.nfs_mode)) {
			must(nfs_readlink(nfs, there, target, sizeof target), "readlink", there);
			here_must(symlink(target, here), "symlink", here);
			continue;
		}
		if (S_ISDIR(stat.nfs_mode)) {
			here_must(mkdir(here, 0700), "mkdir", here);
			get(there, here);
		} else if (S_ISREG(stat.nfs_mode)) {
			get_file(there, here, &stat);
		} else {
			here_must(mknod(here, stat.nfs_mode, stat.nfs_rdev), "mknod", here);
		}
		struct timespec times[2] = {
			{ stat.nfs_atime, stat.nfs_atime_nsec },
			{ stat.nfs_mtime, stat.nfs_mtime_nsec },
		};
		here_must(utimensat(AT_FDCWD, here, times, 0), "utimensat", here);
		here_must(chmod(here, stat.nfs_mode & 07777), "chmod", here);
	}
	nfs_closedir(nfs, directory);
}

/* A read that is under way, and what it has to give. */
struct block {
	const char *path;
	int here;
	uint64_t offset;
	uint64_t expected;
	int *outstanding;
};

static void check_block(int result, struct nfs_context *context, void *data, void *private)
{
	struct block *block = private;
	char bytes[BLOCK];

	(void)context;
	if (result < 0)
		die("read %s: %s", block->path, (char *)data);
	if ((uint64_t)result != block->expected)
		die("read %s at %llu: %d bytes", block->path, (unsigned long long)block->offset, result);
	here_must(pread(block->here, bytes, result, block->offset) == result ? 0 : -1, "read", block->path);
	if (memcmp(bytes, data, result))
		die("%s differs behind %llu", block->path, (unsigned long long)block->offset);
	--*block->outstanding;
	free(block);
}

static void serve_until(const int *outstanding, int most)
{
	while (*outstanding > most) {
		struct pollfd poll_fd = { .fd = nfs_get_fd(nfs), .events = nfs_which_events(nfs) };

		here_must(poll(&poll_fd, 1, -1), "poll", "");
		if (nfs_service(nfs, poll_fd.revents) < 0)
			die("lost the server: %s", nfs_get_error(nfs));
	}
}

/* Reads blocks from both ends to the middle, many at a time, and compares each. */
static void same_content(const char *there, const char *here_path, uint64_t size)
{
	struct nfsfh *file;
	int outstanding = 0, here = open(here_path, O_RDONLY);
	uint64_t blocks = (size + BLOCK - 1) / BLOCK, index;

	here_must(here, "open", here_path);
	must(nfs_open(nfs, there, O_RDONLY, &file), "open", there);
	for (index = 0; index < blocks; index++) {
		struct block *block = malloc(sizeof *block);
		uint64_t number = index % 2 ? blocks - 1 - index / 2 : index / 2;
		uint64_t offset = number * BLOCK;

		*block = (struct block){ there, here, offset, size - offset < BLOCK ? size - offset : BLOCK, &outstanding };
		must(nfs_pread_async(nfs, file, offset, block->expected, check_block, block), "read", there);
		outstanding++;
		serve_until(&outstanding, OUTSTANDING - 1);
	}
	serve_until(&outstanding, 0);
	must(nfs_close(nfs, file), "close", there);
	close(here);
}

static void same(const char *there_directory, const char *here_directory)
{
	char here[PATH_SIZE], there[PATH_SIZE], target[PATH_SIZE], other[PATH_SIZE];
	struct dirent *entry;
	struct nfsdir *listed;
	int names = 0;
	DIR *directory = opendir(here_directory);

	here_must(directory ? 0 : -1, "opendir", here_directory);
	while ((entry = readdir(directory))) {
		struct nfs_stat_64 far;
		struct stat near;

		names++;
		if (is_dots(entry->d_name))
			continue;
		join(there, there_directory, entry->d_name);
		join(here, here_directory, entry->d_name);
		must(nfs_lstat64(nfs, there, &far), "lstat", there);
		here_must(lstat(here, &near), "lstat", here);
		if (far.nfs_mode != near.st_mode)
			die("%s: mode %llo, not %o", there, (unsigned long long)far.nfs_mode, near.st_mode);
		if (!S_ISDIR(near.st_mode) && far.nfs_nlink != near.st_nlink)
			die("%s: %llu names", there, (unsigned long long)far.nfs_nlink);
		if (!S_ISLNK(near.st_mode) && (far.nfs_mtime != (uint64_t)near.st_mtim.tv_sec ||
		    far.nfs_mtime_nsec / 1000 != (uint64_t)near.st_mtim.tv_nsec / 1000))
			die("%s: time of change differs", there);
		if (S_ISLNK(near.st_mode)) {
			ssize_t length = readlink(here, target, sizeof target - 1);
			here_must(length, "readlink", here);
			target[length] = 0;
			must(nfs_readlink(nfs, there, other, sizeof other), "readlink", there);
			if (strcmp(target, other))
				die("%s leads to %s", there, other);
		} else if (S_ISDIR(near.st_mode)) {
			same(there, here);
		} else if (S_ISREG(near.st_mode)) {
			if (far.nfs_size != (uint64_t)near.st_size)
				die("%s: %llu bytes", there, (unsigned long long)far.nfs_size);
			same_content(there, here, near.st_size);
		} else if (far.nfs_rdev != near.st_rdev) {
			die("%s: another device", there);
		}
	}
	closedir(directory);
	must(nfs_opendir(nfs, there_directory, &listed), "opendir", there_directory);
	while (nfs_readdir(nfs, listed))
		names--;
	nfs_closedir(nfs, listed);
	if (names)
		die("%s: %d names too many or too few", there_directory, -names);
}

int main(int count, char **arguments)
{
	struct nfs_url *url;
	const char *what = count == 4 ? arguments[1] : "";

	if (strcmp(what, "put") && strcmp(what, "get") && strcmp(what, "same"))
		die("tree put|get|same URL DIRECTORY");
	umask(0);
	nfs = nfs_init_context();
	nfs_umask(nfs, 0);
	url = nfs_parse_url_dir(nfs, arguments[2]);
	if (!url)
		die("%s: %s", arguments[2], nfs_get_error(nfs));
	must(nfs_mount(nfs, url->server, url->path), "mount", url->path);
	if (!strcmp(what, "put"))
		put(arguments[3], "/");
	else if (!strcmp(what, "get"))
		get("/", arguments[3]);
	else
		same("/", arguments[3]);
	nfs_destroy_url(url);
	nfs_destroy_context(nfs);
	return 0;
}
