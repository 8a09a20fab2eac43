/*
 * emptyfs MOUNTPOINT [OPTIONS]
 *
 * The fastest FUSE server there can be on /dev/fuse: one thread that reads a request, knows
 * nothing, and says yes. What a call costs here is what the kernel's protocol costs, the floor for
 * every server. The protocol: include/uapi/linux/fuse.h.
 *
 * No name is known until it is made; then the kernel may remember it forever. Directories have
 * even node ids; every file has 4 KiB. statfs(2) tells in f_files how many requests there were that
 * somebody waited for, without those for file data (with passthrough they do not exist) and statfs
 * itself.
 *
 * OPTIONS are further mount options, such as default_permissions: with it the kernel asks for the
 * attributes of a directory after each change in it. Prints "ready" when it is mounted; ends when
 * it is unmounted.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_WRITE   (128U << 10)
#define BUFFER_SIZE (MAX_WRITE + 4096)
#define FILE_SIZE   4096
#define FOREVER	    (1U << 30) /* seconds */

struct server {
	int fuse;
	uint64_t next_node;
	uint64_t counted;
};

/* Any reply; the kernel wants exactly the length of the right one. */
union answer {
	struct fuse_init_out init;
	struct fuse_attr_out attr;
	struct fuse_open_out open;
	struct fuse_write_out write;
	struct fuse_statfs_out statfs;
	char data[FILE_SIZE];
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} made;
};

static int fail(const char *what)
{
	(void)fprintf(stderr, "emptyfs: %s: %s\n", what, strerror(errno));
	return 1;
}

static bool is_directory(uint64_t node)
{
	return node == FUSE_ROOT_ID || node % 2 == 0;
}

static struct fuse_attr attributes(uint64_t node)
{
	return (struct fuse_attr){
		.ino = node,
		.mode = is_directory(node) ? S_IFDIR | 0755 : S_IFREG | 0644,
		.size = is_directory(node) ? 0 : FILE_SIZE,
		.nlink = 1,
		.blksize = 4096,
	};
}

/* A new node; its size in the reply. */
static int make(struct server *server, union answer *answer, bool directory, bool opened)
{
	uint64_t node = server->next_node + (directory ? 0 : 1);

	server->next_node += 2;
	answer->made.entry = (struct fuse_entry_out){
		.nodeid = node,
		.entry_valid = FOREVER,
		.attr_valid = FOREVER,
		.attr = attributes(node),
	};
	answer->made.open = (struct fuse_open_out){.open_flags = FOPEN_KEEP_CACHE};
	return opened ? (int)sizeof(answer->made) : (int)sizeof(answer->made.entry);
}

static int init(const struct fuse_init_in *in, union answer *answer)
{
	uint32_t wanted = FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC | FUSE_NO_OPENDIR_SUPPORT;

	answer->init = (struct fuse_init_out){
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = in->max_readahead,
		.flags = in->flags & wanted,
		.max_write = MAX_WRITE,
		.time_gran = 1,
	};
	return sizeof(answer->init);
}

static int tell_count(struct server *server, union answer *answer)
{
	answer->statfs = (struct fuse_statfs_out){
		.st = {.files = server->counted, .bsize = 4096, .frsize = 4096, .namelen = 255}};
	return sizeof(answer->statfs);
}

static int tell_attributes(uint64_t node, union answer *answer)
{
	answer->attr = (struct fuse_attr_out){.attr_valid = FOREVER, .attr = attributes(node)};
	return sizeof(answer->attr);
}

static int read_zeros(const struct fuse_read_in *in, union answer *answer)
{
	uint32_t rest = in->offset < FILE_SIZE ? FILE_SIZE - (uint32_t)in->offset : 0;
	uint32_t size = in->size < rest ? in->size : rest;

	memset(answer->data, 0, size);
	return (int)size;
}

/* Returns the size of the answer, or -errno to say. */
static int handle(struct server *server, const struct fuse_in_header *in, union answer *answer)
{
	switch (in->opcode) {
	case FUSE_INIT:
		return init((const void *)(in + 1), answer);
	case FUSE_LOOKUP:
		return -ENOENT;
	case FUSE_GETXATTR: /* before the first write to a file; ENOSYS would be an end to xattrs */
		return -ENODATA;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		return tell_attributes(in->nodeid, answer);
	case FUSE_CREATE:
		return make(server, answer, false, true);
	case FUSE_MKDIR:
		return make(server, answer, true, false);
	case FUSE_OPEN:
		answer->open = (struct fuse_open_out){.open_flags = FOPEN_KEEP_CACHE};
		return sizeof(answer->open);
	case FUSE_WRITE:
		answer->write.size = ((const struct fuse_write_in *)(const void *)(in + 1))->size;
		answer->write.padding = 0;
		return sizeof(answer->write);
	case FUSE_READ:
		return read_zeros((const void *)(in + 1), answer);
	case FUSE_STATFS:
		return tell_count(server, answer);
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_RELEASE:
		return 0;
	default: /* the kernel does not ask again */
		return -ENOSYS;
	}
}

/* Whether somebody waits for the answer that would not wait with passthrough's data path. */
static bool counts(uint32_t opcode)
{
	return opcode != FUSE_INIT && opcode != FUSE_STATFS && opcode != FUSE_READ &&
	       opcode != FUSE_WRITE && opcode != FUSE_RELEASE;
}

/* Returns 0 or -errno of the connection. */
static int serve_one(struct server *server, char *buffer)
{
	const struct fuse_in_header *in = (const void *)buffer;
	struct fuse_out_header out = {0};
	union answer answer;
	ssize_t n = read(server->fuse, buffer, BUFFER_SIZE);
	int size;

	if (n < 0)
		return errno == EINTR || errno == ENOENT || errno == EAGAIN ? 0 : -errno;
	if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET ||
	    in->opcode == FUSE_INTERRUPT)
		return 0;
	if (counts(in->opcode))
		server->counted++;
	size = handle(server, in, &answer);
	out.unique = in->unique;
	out.error = size < 0 ? size : 0;
	size = size < 0 ? 0 : size;
	out.len = (uint32_t)sizeof(out) + (uint32_t)size;
	n = writev(server->fuse, (struct iovec[]){{&out, sizeof(out)}, {&answer, (size_t)size}}, 2);
	return n < 0 && errno != ENOENT ? -errno : 0;
}

static int mount_at(struct server *server, const char *point, const char *more)
{
	char options[256];

	server->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (server->fuse < 0)
		return -1;
	(void)snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0%s%s",
		       server->fuse, *more ? "," : "", more);
	return mount("emptyfs", point, "fuse.emptyfs", MS_NOSUID | MS_NODEV, options);
}

int main(int argc, char **argv)
{
	struct server server = {.next_node = 2};
	static char buffer[BUFFER_SIZE] __attribute__((aligned(8)));
	int r;

	if (argc < 2 || argc > 3) {
		(void)fputs("Usage: emptyfs MOUNTPOINT [OPTIONS]\n", stderr);
		return 2;
	}
	if (mount_at(&server, argv[1], argc == 3 ? argv[2] : "") < 0)
		return fail(argv[1]);
	(void)puts("ready");
	(void)fflush(stdout);
	do
		r = serve_one(&server, buffer);
	while (!r);
	errno = -r;
	return r == -ENODEV ? 0 : fail("/dev/fuse");
}
