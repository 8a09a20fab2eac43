/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds: reading, writing, seeking. */
#include "difftest.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SCAN_MAX (4 << 20)

/* Slot, length, offset, and how far the buffer is from a page boundary. */
static void g_io(struct gen *g, struct call *c)
{
	static const int64_t shifts[] = {0, 0, 0, 0, 0, 512, 1, 100};

	c->slot = gen_slot(g, gen_chance(g, 97) ? HINT_FILE : HINT_ANY);
	c->n[0] = gen_len(g);
	c->n[1] = gen_off(g);
	c->n[2] = GEN_FROM(g, shifts);
}

static void g_read(struct gen *g, struct call *c)
{
	g_io(g, c);
	c->n[1] = c->n[2];
}

static void data_back(struct worker *w, const struct call *c, struct result *r, const char *buf,
		      ssize_t n)
{
	(void)w;
	(void)c;
	res_set(r, n);
	if (n > 0)
		res_data(r, "data", buf, n);
}

static char *io_buf(const struct worker *w, const struct call *c, int64_t shift)
{
	return w->buf + (fuse_hides_memory(w, worker_fd(w, c->slot)) ? 0 : shift);
}

static void x_read(struct worker *w, const struct call *c, struct result *r)
{
	char *buf = io_buf(w, c, c->n[1]);

	data_back(w, c, r, buf, read(worker_fd(w, c->slot), buf, c->n[0]));
}

static void x_pread(struct worker *w, const struct call *c, struct result *r)
{
	char *buf = io_buf(w, c, c->n[2]);

	data_back(w, c, r, buf, pread(worker_fd(w, c->slot), buf, c->n[0], c->n[1]));
}

/* Splits the buffer in three, one of them empty. */
static int vectors(const struct worker *w, const struct call *c, size_t len, struct iovec iov[3])
{
	size_t part = fuse_hides_memory(w, worker_fd(w, c->slot)) ? 0 : len / 3;

	iov[0] = (struct iovec){w->buf, part};
	iov[1] = (struct iovec){w->buf + part, 0};
	iov[2] = (struct iovec){w->buf + part, len - part};
	return 3;
}

static void x_readv(struct worker *w, const struct call *c, struct result *r)
{
	struct iovec iov[3];
	int n = vectors(w, c, c->n[0], iov);

	data_back(w, c, r, w->buf, readv(worker_fd(w, c->slot), iov, n));
}

static void g_preadv2(struct gen *g, struct call *c)
{
	static const int64_t flags[] = {0, 0, RWF_HIPRI, RWF_DSYNC, RWF_SYNC, 0x40000000};

	g_io(g, c);
	if (gen_chance(g, 20))
		c->n[1] = -1;
	c->n[2] = GEN_FROM(g, flags);
}

static void x_preadv2(struct worker *w, const struct call *c, struct result *r)
{
	struct iovec iov[3];
	int n = vectors(w, c, c->n[0], iov);

	data_back(w, c, r, w->buf, preadv2(worker_fd(w, c->slot), iov, n, c->n[1], (int)c->n[2]));
}

static void g_write(struct gen *g, struct call *c)
{
	g_read(g, c);
	gen_data(g, c);
	c->n[0] = c->n[1];
}

#define SMALLEST_BLOCK 1024 /* of the filesystems that are compared */

/*
 * An O_DIRECT write with an unaligned end goes extent by extent, and the last one is refused: what
 * was written before depends on where the extents are (iomap_dio_rw).
 */
static bool may_tear(int fd, int64_t off, size_t len, struct result *r)
{
	int64_t at = off == -1 ? lseek(fd, 0, SEEK_CUR) : off;
	int flags = fcntl(fd, F_GETFL);
	bool yes = flags >= 0 && !(flags & O_PATH) && flags & O_DIRECT && len % 512 != 0 &&
		   at >= 0 &&
		   (uint64_t)at / SMALLEST_BLOCK != ((uint64_t)at + len) / SMALLEST_BLOCK;

	if (yes)
		res_fmt(r, " skipped=1");
	return yes;
}

/* Puts the position right, and says whether the write is to be left out. */
static bool left_out(const struct worker *w, const struct call *c, struct result *r, int64_t *off,
		     int rwf)
{
	int fd = worker_fd(w, c->slot);

	*off = fuse_write_pos(w, fd, *off, rwf);
	if (may_tear(fd, *off, c->data_len, r))
		return true;
	return fuse_strips_write(w, fd, *off, c->data_len, r);
}

static void wrote(const struct worker *w, const struct call *c, struct result *r, ssize_t n)
{
	res_set(r, n);
	if (c->data_len == 0)
		fuse_nothing_done(w, r);
}

static void x_write(struct worker *w, const struct call *c, struct result *r)
{
	char *buf = io_buf(w, c, c->n[0]);
	int64_t off = -1;

	worker_fill(w, c);
	memmove(buf, w->buf, c->data_len);
	if (!left_out(w, c, r, &off, 0))
		wrote(w, c, r, write(worker_fd(w, c->slot), buf, c->data_len));
}

static void g_pwrite(struct gen *g, struct call *c)
{
	g_io(g, c);
	gen_data(g, c);
	c->n[0] = c->n[1];
}

static void x_pwrite(struct worker *w, const struct call *c, struct result *r)
{
	int64_t off = c->n[0];

	worker_fill(w, c);
	if (!left_out(w, c, r, &off, 0))
		wrote(w, c, r, pwrite(worker_fd(w, c->slot), w->buf, c->data_len, off));
}

static void x_writev(struct worker *w, const struct call *c, struct result *r)
{
	struct iovec iov[3];
	int n = vectors(w, c, c->data_len, iov);
	int64_t off = -1;

	worker_fill(w, c);
	if (!left_out(w, c, r, &off, 0))
		wrote(w, c, r, writev(worker_fd(w, c->slot), iov, n));
}

static void g_pwritev2(struct gen *g, struct call *c)
{
	static const int64_t flags[] = {
		0, RWF_APPEND, RWF_APPEND, RWF_DSYNC, RWF_SYNC, RWF_APPEND | RWF_DSYNC, 0x40000000,
	};

	g_pwrite(g, c);
	if (gen_chance(g, 20))
		c->n[0] = -1;
	c->n[1] = GEN_FROM(g, flags);
}

static void x_pwritev2(struct worker *w, const struct call *c, struct result *r)
{
	struct iovec iov[3];
	int n = vectors(w, c, c->data_len, iov);
	int64_t off = c->n[0];

	worker_fill(w, c);
	if (!left_out(w, c, r, &off, (int)c->n[1]))
		wrote(w, c, r, pwritev2(worker_fd(w, c->slot), iov, n, off, (int)c->n[1]));
}

/* Transfers to and from an address that is not mapped. */
static void g_fault(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_FILE);
	c->n[0] = 100;
	c->n[1] = gen_chance(g, 50) ? 0 : 4096;
}

static void x_pread_fault(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, syscall(SYS_pread64, worker_fd(w, c->slot), 16, c->n[0], c->n[1]));
}

static void x_pwrite_fault(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, syscall(SYS_pwrite64, worker_fd(w, c->slot), 16, c->n[0], c->n[1]));
}

static void g_lseek(struct gen *g, struct call *c)
{
	static const int64_t whences[] = {SEEK_SET, SEEK_SET, SEEK_CUR, SEEK_CUR, SEEK_END, 9};

	c->slot = gen_slot(g, HINT_FILE);
	c->n[0] = gen_chance(g, 20) ? -gen_off(g) : gen_off(g);
	c->n[1] = gen_chance(g, 3) ? 9 : whences[gen_below(g, 5)];
}

/* Positions in directories are cookies of the filesystem: exec_dir.c looks after them. */
static void x_lseek(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		res_set(r, lseek(fd, 0, SEEK_SET));
		return;
	}
	res_set(r, lseek(fd, c->n[0], (int)c->n[1]));
}

static void g_seek_data(struct gen *g, struct call *c)
{
	g_lseek(g, c);
	c->n[0] = gen_off(g);
	c->n[1] = gen_chance(g, 50) ? SEEK_DATA : SEEK_HOLE;
}

/* Are all bytes of the range zero? Long ranges and files that cannot be read are believed. */
static bool all_zero(struct worker *w, int fd, off64_t from, off64_t to)
{
	static const char zeros[4096];
	ssize_t n;

	if (to - from > SCAN_MAX)
		return true;
	while (from < to && (n = pread(fd, w->buf, sizeof(zeros), from)) > 0) {
		if (memcmp(w->buf, zeros, to - from < n ? (size_t)(to - from) : (size_t)n) != 0)
			return false;
		from += n;
	}
	return true;
}

/*
 * What counts as data depends on the page cache where blocks are allocated but not written. So the
 * position is only checked against the content; seek_exact is for files without such blocks.
 */
static void x_seek_data(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);
	off64_t off = c->n[0], at;
	struct stat st;
	bool valid;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		x_lseek(w, c, r);
		return;
	}
	at = lseek(fd, off, (int)c->n[1]);
	res_set(r, at < 0 ? -1 : 0);
	if (at >= 0 && c->n[1] == SEEK_HOLE)
		valid = at >= off && at <= st.st_size;
	else if (at >= 0)
		valid = at >= off && at < st.st_size && all_zero(w, fd, off, at);
	else
		valid = off < 0 || off >= st.st_size || all_zero(w, fd, off, st.st_size);
	if (off < st.st_size && r->err == ENXIO)
		r->ret = r->err = 0;
	res_fmt(r, " valid=%d", valid);
	(void)lseek(fd, 0, SEEK_SET);
}

static void g_truncate(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, CLS_FILE);
	c->n[0] = gen_off(g);
}

static void x_truncate(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	res_set(r, truncate(c->p.s, c->n[0]));
}

static void g_ftruncate(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_FILE);
	c->n[0] = gen_off(g);
}

static void x_ftruncate(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, ftruncate(worker_fd(w, c->slot), c->n[0]));
}

static const struct kind kinds[] = {
	{"read", "sDD", 40, g_read, x_read},
	{"pread", "sDDD", 40, g_io, x_pread},
	{"readv", "sD", 12, g_io, x_readv},
	{"preadv2", "sDDX", 15, g_preadv2, x_preadv2},
	{"write", "sdD", 45, g_write, x_write},
	{"pwrite", "sdD", 45, g_pwrite, x_pwrite},
	{"writev", "sd", 12, g_pwrite, x_writev},
	{"pwritev2", "sdDX", 18, g_pwritev2, x_pwritev2},
	{"pread_fault", "sDD", 3, g_fault, x_pread_fault, .beyond_fuse = true},
	{"pwrite_fault", "sDD", 3, g_fault, x_pwrite_fault, .beyond_fuse = true},
	{"lseek", "sDW", 30, g_lseek, x_lseek},
	{"lseek_data_hole", "sDW", 20, g_seek_data, x_seek_data},
	{"seek_exact", "sDW", 0, g_seek_data, x_lseek},
	{"truncate", "pD", 25, g_truncate, x_truncate},
	{"ftruncate", "sD", 25, g_ftruncate, x_ftruncate},
};

const struct kind_set kinds_data = {kinds, ARRAY_SIZE(kinds)};
