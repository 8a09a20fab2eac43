/*
 * Random operations on one file, each compared with a copy in memory: reads, writes, mappings,
 * truncation, holes, direct I/O, copies within the file, in any order and alignment. A run with
 * an odd seed uses direct I/O, one with an even seed the page cache: no filesystem promises
 * anything for both at a time (open(2)), and XFS answers EIO now and then.
 *
 *     iocheck [-s SEED] [-n OPERATIONS] [-l LENGTH] FILE
 *
 * Exit 0: everything was as expected. Exit 1: a difference, which is printed with the last
 * operations and the seed. Operations that the filesystem does not have are left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGN	4096
#define HISTORY 16

struct check {
	const char *path;
	int fd;
	int direct_fd;
	uint64_t rng;
	bool direct;	 /* not through the page cache */
	size_t limit;	 /* the file never gets longer */
	size_t size;	 /* of the file */
	char *expected;	 /* what the file must contain; zeros beyond size */
	char *buffer;	 /* aligned */
	unsigned number; /* of the operation */
	char history[HISTORY][96];
};

static uint64_t rnd(struct check *c, uint64_t below)
{
	c->rng ^= c->rng << 13;
	c->rng ^= c->rng >> 7;
	c->rng ^= c->rng << 17;
	return below ? c->rng % below : 0;
}

static void note(struct check *c, const char *what, size_t offset, size_t length)
{
	(void)snprintf(c->history[c->number % HISTORY], sizeof(c->history[0]),
		       "%u: %s at %zu, %zu bytes, file of %zu", c->number, what, offset, length,
		       c->size);
}

static int failed(struct check *c, const char *what)
{
	unsigned first = c->number < HISTORY ? 0 : c->number - HISTORY + 1;

	(void)fprintf(stderr, "%s: %s: %s\n", c->path, what, errno ? strerror(errno) : "differs");
	for (unsigned i = first; i <= c->number; i++)
		(void)fprintf(stderr, "  %s\n", c->history[i % HISTORY]);
	return -1;
}

/* Compares what was read with what had to be there. */
static int compare(struct check *c, const char *seen, size_t offset, size_t length)
{
	errno = 0;
	for (size_t i = 0; i < length; i++) {
		if (seen[i] == c->expected[offset + i])
			continue;
		(void)fprintf(stderr, "byte %zu is 0x%02x, not 0x%02x\n", offset + i,
			      (unsigned char)seen[i], (unsigned char)c->expected[offset + i]);
		return failed(c, "content");
	}
	return 0;
}

/* A random piece of [0, below). */
static void piece(struct check *c, size_t below, size_t *offset, size_t *length)
{
	*offset = rnd(c, below);
	*length = 1 + rnd(c, rnd(c, 4) ? 20000 : below);
	if (*length > below - *offset)
		*length = below - *offset;
}

static void aligned_piece(struct check *c, size_t *offset, size_t *length)
{
	piece(c, c->limit, offset, length);
	*offset -= *offset % ALIGN;
	*length = (*length + ALIGN - 1) / ALIGN * ALIGN;
	if (*length > c->limit - *offset)
		*length = c->limit - *offset;
}

static void fill(struct check *c, char *to, size_t length)
{
	uint64_t value = rnd(c, 0) | 1;

	for (size_t i = 0; i < length; i++)
		to[i] = (char)((value * (i + 1)) >> 24);
}

static void grown(struct check *c, size_t end)
{
	if (end > c->size)
		c->size = end;
}

static int op_read(struct check *c)
{
	size_t offset, length, expected;
	ssize_t n;

	piece(c, c->limit, &offset, &length);
	note(c, "read", offset, length);
	expected = offset >= c->size ? 0 : c->size - offset < length ? c->size - offset : length;
	n = pread(c->fd, c->buffer, length, (off_t)offset);
	if (n != (ssize_t)expected)
		return failed(c, "length of a read");
	return compare(c, c->buffer, offset, expected);
}

static int op_read_direct(struct check *c)
{
	size_t offset, length, expected;
	ssize_t n;

	aligned_piece(c, &offset, &length);
	note(c, "direct read", offset, length);
	expected = offset >= c->size ? 0 : c->size - offset < length ? c->size - offset : length;
	n = pread(c->direct_fd, c->buffer, length, (off_t)offset);
	if (n != (ssize_t)expected)
		return failed(c, "length of a direct read");
	return compare(c, c->buffer, offset, expected);
}

static int written(struct check *c, int fd, size_t offset, size_t length)
{
	fill(c, c->buffer, length);
	if (pwrite(fd, c->buffer, length, (off_t)offset) != (ssize_t)length)
		return failed(c, "write");
	memcpy(c->expected + offset, c->buffer, length);
	grown(c, offset + length);
	return 0;
}

static int op_write(struct check *c)
{
	size_t offset, length;

	piece(c, c->limit, &offset, &length);
	note(c, "write", offset, length);
	return written(c, c->fd, offset, length);
}

static int op_write_direct(struct check *c)
{
	size_t offset, length;

	aligned_piece(c, &offset, &length);
	note(c, "direct write", offset, length);
	return written(c, c->direct_fd, offset, length);
}

static int op_truncate(struct check *c)
{
	size_t size = rnd(c, c->limit);

	note(c, "truncate", size, 0);
	if (ftruncate(c->fd, (off_t)size) < 0)
		return failed(c, "truncate");
	if (size < c->size)
		memset(c->expected + size, 0, c->size - size);
	c->size = size;
	return 0;
}

static int op_map(struct check *c)
{
	size_t offset, length, start;
	bool write = rnd(c, 2);
	char *map;
	int r;

	if (c->size == 0)
		return 0;
	piece(c, c->size, &offset, &length);
	note(c, write ? "write to a mapping" : "read of a mapping", offset, length);
	start = offset - offset % ALIGN;
	map = mmap(NULL, offset + length - start, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd,
		   (off_t)start);
	if (map == MAP_FAILED)
		return failed(c, "mmap");
	r = compare(c, map + (offset - start), offset, length);
	if (r == 0 && write) {
		fill(c, map + (offset - start), length);
		memcpy(c->expected + offset, map + (offset - start), length);
		if (rnd(c, 2) && msync(map, offset + length - start, MS_SYNC) < 0)
			r = failed(c, "msync");
	}
	(void)munmap(map, offset + length - start);
	return r;
}

static int allocate(struct check *c, int mode, const char *what)
{
	size_t offset, length;

	piece(c, c->limit, &offset, &length);
	note(c, what, offset, length);
	if (fallocate(c->fd, mode, (off_t)offset, (off_t)length) < 0)
		return errno == EOPNOTSUPP ? 0 : failed(c, what);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		memset(c->expected + offset, 0, length);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		grown(c, offset + length);
	return 0;
}

static int op_allocate(struct check *c)
{
	return allocate(c, rnd(c, 2) ? FALLOC_FL_KEEP_SIZE : 0, "allocate");
}

static int op_punch(struct check *c)
{
	return allocate(c, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch");
}

static int op_zero(struct check *c)
{
	return allocate(c, FALLOC_FL_ZERO_RANGE | (rnd(c, 2) ? FALLOC_FL_KEEP_SIZE : 0), "zero");
}

/* copy_file_range() from one part of the file to another that does not overlap it. */
static int op_copy(struct check *c)
{
	size_t from, to, length;
	off_t in, out;
	ssize_t n;

	if (c->size == 0)
		return 0;
	piece(c, c->size, &from, &length);
	to = rnd(c, c->limit - length + 1);
	if (to < from + length && from < to + length)
		return 0;
	note(c, "copy", from, length);
	in = (off_t)from;
	out = (off_t)to;
	n = copy_file_range(c->fd, &in, c->fd, &out, length, 0);
	if (n < 0)
		return errno == EOPNOTSUPP ? 0 : failed(c, "copy_file_range");
	memcpy(c->expected + to, c->expected + from, (size_t)n);
	grown(c, to + (size_t)n);
	return 0;
}

static int op_sync(struct check *c)
{
	note(c, "fsync", 0, 0);
	return fsync(c->fd) < 0 ? failed(c, "fsync") : 0;
}

static int open_both(struct check *c)
{
	c->fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (c->fd < 0)
		return failed(c, "open");
	c->direct_fd = open(c->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (c->direct_fd < 0)
		c->direct_fd = open(c->path, O_RDWR | O_CLOEXEC);
	return c->direct_fd < 0 ? failed(c, "open") : 0;
}

static int op_reopen(struct check *c)
{
	struct stat st;

	note(c, "close and open", 0, 0);
	if (close(c->fd) < 0 || close(c->direct_fd) < 0 || open_both(c) < 0)
		return failed(c, "close and open");
	errno = 0;
	if (fstat(c->fd, &st) < 0 || (size_t)st.st_size != c->size)
		return failed(c, "size");
	return 0;
}

/* An operation and how often it is chosen. */
struct choice {
	int (*run)(struct check *c);
	unsigned weight;
};

static const struct choice cached_operations[] = {
	{op_read, 6},	  {op_write, 6},  {op_map, 6},	{op_truncate, 2},
	{op_punch, 2},	  {op_zero, 2},	  {op_copy, 3}, {op_sync, 1},
	{op_allocate, 1}, {op_reopen, 1}, {NULL, 0},
};

static const struct choice direct_operations[] = {
	{op_read_direct, 6}, {op_write_direct, 6}, {op_truncate, 2}, {op_punch, 2}, {op_zero, 2},
	{op_allocate, 1},    {op_sync, 1},	   {op_reopen, 1},   {NULL, 0},
};

static int random_operation(struct check *c)
{
	const struct choice *choices = c->direct ? direct_operations : cached_operations;
	unsigned total = 0, pick;

	for (const struct choice *o = choices; o->run; o++)
		total += o->weight;
	pick = (unsigned)rnd(c, total);
	while (pick >= choices->weight)
		pick -= choices++->weight;
	return choices->run(c);
}

static int run(struct check *c, unsigned operations_count)
{
	c->expected = calloc(1, c->limit);
	if (!c->expected || posix_memalign((void **)&c->buffer, ALIGN, c->limit) != 0)
		return failed(c, "memory");
	(void)unlink(c->path);
	if (open_both(c) < 0)
		return -1;
	for (c->number = 0; c->number < operations_count; c->number++)
		if (random_operation(c) < 0)
			return -1;
	note(c, "read of the whole file", 0, c->size);
	if (op_reopen(c) < 0)
		return -1;
	if (pread(c->fd, c->buffer, c->limit, 0) != (ssize_t)c->size)
		return failed(c, "length of the last read");
	return compare(c, c->buffer, 0, c->size);
}

int main(int argc, char **argv)
{
	struct check c = {.limit = 256 * 1024};
	unsigned long long seed = 1;
	unsigned long operations_count = 1000;
	int option, r;

	while ((option = getopt(argc, argv, "s:n:l:")) != -1) {
		if (option == 's')
			seed = strtoull(optarg, NULL, 10);
		else if (option == 'n')
			operations_count = strtoul(optarg, NULL, 10);
		else if (option == 'l')
			c.limit = strtoul(optarg, NULL, 10) / ALIGN * ALIGN;
		else
			return 2;
	}
	if (optind + 1 != argc || c.limit == 0) {
		(void)fprintf(stderr,
			      "usage: iocheck [-s SEED] [-n OPERATIONS] [-l LENGTH] FILE\n");
		return 2;
	}
	c.path = argv[optind];
	c.direct = seed % 2;
	c.rng = seed * 0x9e3779b97f4a7c15u + 1;
	r = run(&c, (unsigned)operations_count);
	if (r < 0)
		(void)fprintf(stderr, "seed %llu\n", seed);
	free(c.expected);
	free(c.buffer);
	return r < 0 ? 1 : 0;
}
