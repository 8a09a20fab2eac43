/*
 * emptyfs MOUNTPOINT [OPTIONS [ring]]
 *
 * The fastest FUSE server there can be: it knows nothing, and says yes. What a call costs here is
 * what the kernel's protocol costs, the floor for every server. One thread reads /dev/fuse, or,
 * with "ring", one for each CPU serves the requests that come from there through io_uring
 * (emptyfs_ring.c). The protocol: include/uapi/linux/fuse.h.
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
#include "emptyfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FOREVER (1U << 30) /* seconds */

int emptyfs_fail(const char *what)
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
		.size = is_directory(node) ? 0 : EMPTYFS_FILE_SIZE,
		.nlink = 1,
		.blksize = 4096,
	};
}

/* A new node; its size in the reply. */
static int make(struct emptyfs *server, union emptyfs_answer *answer, bool directory, bool opened)
{
	uint64_t node = atomic_fetch_add(&server->next_node, 2) + (directory ? 0 : 1);

	answer->made.entry = (struct fuse_entry_out){
		.nodeid = node,
		.entry_valid = FOREVER,
		.attr_valid = FOREVER,
		.attr = attributes(node),
	};
	answer->made.open = (struct fuse_open_out){.open_flags = FOPEN_KEEP_CACHE};
	return opened ? (int)sizeof(answer->made) : (int)sizeof(answer->made.entry);
}

static int init(const struct emptyfs *server, const struct fuse_init_in *in,
		union emptyfs_answer *answer)
{
	uint32_t wanted = FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC | FUSE_NO_OPENDIR_SUPPORT |
			  FUSE_INIT_EXT;

	answer->init = (struct fuse_init_out){
		.major = FUSE_KERNEL_VERSION,
		.minor = in->minor,
		.max_readahead = in->max_readahead,
		.flags = in->flags & wanted,
		.flags2 = server->ring ? in->flags2 & EMPTYFS_OVER_RING : 0,
		.max_write = EMPTYFS_MAX_WRITE,
		.time_gran = 1,
	};
	return sizeof(answer->init);
}

static int tell_count(struct emptyfs *server, union emptyfs_answer *answer)
{
	answer->statfs = (struct fuse_statfs_out){
		.st = {.files = server->counted, .bsize = 4096, .frsize = 4096, .namelen = 255}};
	return sizeof(answer->statfs);
}

static int tell_attributes(uint64_t node, union emptyfs_answer *answer)
{
	answer->attr = (struct fuse_attr_out){.attr_valid = FOREVER, .attr = attributes(node)};
	return sizeof(answer->attr);
}

static int read_zeros(const struct fuse_read_in *in, union emptyfs_answer *answer)
{
	uint32_t rest = in->offset < EMPTYFS_FILE_SIZE ? EMPTYFS_FILE_SIZE - (uint32_t)in->offset
						       : 0;
	uint32_t size = in->size < rest ? in->size : rest;

	memset(answer->data, 0, size);
	return (int)size;
}

static int handle(struct emptyfs *server, const struct fuse_in_header *in, const void *argument,
		  union emptyfs_answer *answer)
{
	switch (in->opcode) {
	case FUSE_INIT:
		return init(server, argument, answer);
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
		answer->write.size = ((const struct fuse_write_in *)argument)->size;
		answer->write.padding = 0;
		return sizeof(answer->write);
	case FUSE_READ:
		return read_zeros(argument, answer);
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

size_t emptyfs_answer(struct emptyfs *server, const struct fuse_in_header *in, const void *argument,
		      struct fuse_out_header *out, union emptyfs_answer *answer)
{
	int size;

	if (counts(in->opcode))
		atomic_fetch_add(&server->counted, 1);
	size = handle(server, in, argument, answer);
	*out = (struct fuse_out_header){.unique = in->unique, .error = size < 0 ? size : 0};
	size = size < 0 ? 0 : size;
	out->len = (uint32_t)sizeof(*out) + (uint32_t)size;
	return (size_t)size;
}

int emptyfs_serve_one(struct emptyfs *server, char *buffer)
{
	const struct fuse_in_header *in = (const void *)buffer;
	struct fuse_out_header out;
	union emptyfs_answer answer;
	ssize_t n = read(server->fuse, buffer, EMPTYFS_BUFFER);
	size_t size;

	if (n < 0)
		return errno == EINTR || errno == ENOENT || errno == EAGAIN ? 0 : -errno;
	if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET ||
	    in->opcode == FUSE_INTERRUPT)
		return 0;
	size = emptyfs_answer(server, in, in + 1, &out, &answer);
	n = writev(server->fuse, (struct iovec[]){{&out, sizeof(out)}, {&answer, size}}, 2);
	return n < 0 && errno != ENOENT ? -errno : 0;
}

static int mount_at(struct emptyfs *server, const char *point, const char *more)
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
	struct emptyfs server = {.next_node = 2, .ring = argc == 4};
	static char buffer[EMPTYFS_BUFFER] __attribute__((aligned(8)));
	int r;

	if (argc < 2 || argc > 4 || (argc == 4 && strcmp(argv[3], "ring") != 0)) {
		(void)fputs("Usage: emptyfs MOUNTPOINT [OPTIONS [ring]]\n", stderr);
		return 2;
	}
	if (mount_at(&server, argv[1], argc > 2 ? argv[2] : "") < 0)
		return emptyfs_fail(argv[1]);
	r = emptyfs_serve_one(&server, buffer); /* INIT */
	if (!r && server.ring)
		r = emptyfs_ring_start(&server);
	(void)puts("ready");
	(void)fflush(stdout);
	while (!r)
		r = emptyfs_serve_one(&server, buffer);
	errno = -r;
	return r == -ENODEV ? 0 : emptyfs_fail("/dev/fuse");
}
