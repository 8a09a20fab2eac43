/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds: allocation, copies inside the kernel, mappings, syncing. */
#include "difftest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <unistd.h>

static sigjmp_buf bus_jump;

static void g_fallocate(struct gen *g, struct call *c)
{
	static const int64_t modes[] = {
		0,
		0,
		FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE,
		0x4000,
	};
	/* refused by the kernel's FUSE before a server is asked (fs/fuse/file.c) */
	static const int64_t beyond[] = {
		FALLOC_FL_COLLAPSE_RANGE,
		FALLOC_FL_INSERT_RANGE,
		FALLOC_FL_UNSHARE_RANGE,
	};

	c->slot = gen_slot(g, HINT_FILE);
	c->n[0] = g->beyond_fuse && gen_chance(g, 25) ? GEN_FROM(g, beyond) : GEN_FROM(g, modes);
	c->n[1] = gen_off(g);
	c->n[2] = gen_chance(g, 3) ? -gen_len(g) : gen_len(g);
	if (gen_chance(g, 40)) {
		c->n[1] &= ~4095ll;
		c->n[2] &= ~4095ll;
	}
}

static void x_fallocate(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);

	if (!fuse_strips_first(w, fd, r))
		res_set(r, fallocate(fd, (int)c->n[0], c->n[1], c->n[2]));
}

static void g_copy(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_FILE);
	c->slot2 = gen_chance(g, 20) ? c->slot : gen_slot(g, HINT_FILE);
	c->n[0] = gen_chance(g, 25) ? -1 : gen_off(g);
	c->n[1] = gen_chance(g, 25) ? -1 : gen_off(g);
	c->n[2] = gen_len(g);
	c->n[3] = gen_chance(g, 2);
}

/* Is there nothing at that position? */
static bool copies_nothing(int fd, off64_t from, int64_t len)
{
	off64_t at = from == -1 ? lseek(fd, 0, SEEK_CUR) : from;
	struct stat st;

	return len == 0 || (fstat(fd, &st) == 0 && at >= st.st_size);
}

/* An offset of -1 means the file's own position. */
static void x_copy_file_range(struct worker *w, const struct call *c, struct result *r)
{
	int in = worker_fd(w, c->slot), out = worker_fd(w, c->slot2);
	off64_t from = c->n[0], to = c->n[1];
	bool nothing;

	fuse_dir_start(w, in);
	if (fuse_strips_first(w, out, r))
		return;
	nothing = copies_nothing(in, from, c->n[2]);
	res_set(r, copy_file_range(in, from == -1 ? NULL : &from, out, to == -1 ? NULL : &to,
				   c->n[2], (unsigned int)c->n[3]));
	if (nothing)
		fuse_nothing_done(w, r);
	res_fmt(r, " in=%lld out=%lld", (long long)from, (long long)to);
}

static void pipe_drain(struct worker *w, struct result *r)
{
	ssize_t n, all = 0;

	while (all < BUF_SIZE - 65536 && (n = read(w->pipe[0], w->buf + all, 65536)) > 0)
		all += n;
	res_data(r, "data", w->buf, all);
}

static void g_sendfile(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_FILE);
	c->slot2 = gen_slot(g, HINT_FILE);
	c->n[0] = gen_chance(g, 40) ? -1 : gen_off(g);
	c->n[1] = gen_len(g);
}

static void x_sendfile(struct worker *w, const struct call *c, struct result *r)
{
	off64_t from = c->n[0];
	int in = worker_fd(w, c->slot), out = worker_fd(w, c->slot2);

	fuse_dir_start(w, in);
	if (fuse_strips_write(w, out, -1, c->n[1], r))
		return;
	res_set(r, sendfile(out, in, from == -1 ? NULL : &from, c->n[1]));
	res_fmt(r, " from=%lld", (long long)from);
}

static void g_to_pipe(struct gen *g, struct call *c)
{
	g_sendfile(g, c);
	if (c->n[1] > PIPE_LEN_MAX)
		c->n[1] = PIPE_LEN_MAX;
}

static void x_sendfile_pipe(struct worker *w, const struct call *c, struct result *r)
{
	off64_t from = c->n[0];

	fuse_dir_start(w, worker_fd(w, c->slot));
	res_set(r, sendfile(w->pipe[1], worker_fd(w, c->slot), from == -1 ? NULL : &from, c->n[1]));
	pipe_drain(w, r);
}

static void x_splice_read(struct worker *w, const struct call *c, struct result *r)
{
	loff_t from = c->n[0];

	fuse_dir_start(w, worker_fd(w, c->slot));
	res_set(r, splice(worker_fd(w, c->slot), from == -1 ? NULL : &from, w->pipe[1], NULL,
			  c->n[1], SPLICE_F_NONBLOCK));
	pipe_drain(w, r);
}

static void g_splice_write(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_FILE);
	c->n[0] = gen_chance(g, 40) ? -1 : gen_off(g);
	gen_data(g, c);
	if (c->data_len > PIPE_LEN_MAX)
		c->data_len = PIPE_LEN_MAX;
}

static void x_splice_write(struct worker *w, const struct call *c, struct result *r)
{
	loff_t to = c->n[0];
	ssize_t n;

	if (fuse_strips_write(w, worker_fd(w, c->slot), to, c->data_len, r))
		return;
	worker_fill(w, c);
	n = write(w->pipe[1], w->buf, c->data_len);
	if (n < 0 || (size_t)n != c->data_len)
		res_fmt(r, " pipe=short");
	res_set(r, splice(w->pipe[0], NULL, worker_fd(w, c->slot), to == -1 ? NULL : &to,
			  c->data_len, SPLICE_F_NONBLOCK));
	pipe_drain(w, r);
}

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus_jump, 1);
}

/* What a mapping does with its bytes; returns a field for the result. */
typedef void map_fn(struct worker *w, const struct call *c, struct result *r, char *map, size_t n);

/* Maps n[1] bytes at page n[0] and touches only what lies inside the file. */
static void map_file(struct worker *w, const struct call *c, struct result *r, int flags,
		     map_fn *fn)
{
	int fd = worker_fd(w, c->slot);
	off64_t off = c->n[0] * 4096;
	size_t len = c->n[1], inside = 0;
	struct stat st;
	char *map;

	if (flags == MAP_SHARED && fuse_append_only(w, fd, r))
		return;
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, off);
	res_set(r, map == MAP_FAILED ? -1 : 0);
	if (map == MAP_FAILED)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > off)
		inside = (size_t)(st.st_size - off) < len ? (size_t)(st.st_size - off) : len;
	res_fmt(r, " inside=%zu", inside);
	signal(SIGBUS, on_bus);
	if (sigsetjmp(bus_jump, 1) == 0)
		fn(w, c, r, map, inside);
	else
		res_fmt(r, " signal=SIGBUS");
	signal(SIGBUS, SIG_DFL);
	munmap(map, len);
}

static void map_store(struct worker *w, const struct call *c, struct result *r, char *map, size_t n)
{
	ssize_t got;

	worker_fill(w, c);
	memcpy(map, w->buf, n < c->data_len ? n : c->data_len);
	if (c->n[2])
		res_fmt(r, " msync=%d", msync(map, c->n[1], (int)c->n[2]));
	/* whether the end of an unaligned transfer is allocated depends on the page cache */
	if (fuse_hides_memory(w, worker_fd(w, c->slot)))
		n &= ~4095ul;
	got = pread(worker_fd(w, c->slot), w->buf, n, c->n[0] * 4096);
	res_fmt(r, " got=%zd", got);
	if (got > 0)
		res_data(r, "data", w->buf, got);
}

static void map_load(struct worker *w, const struct call *c, struct result *r, char *map, size_t n)
{
	res_data(r, "before", map, n);
	worker_fill(w, c);
	memcpy(map, w->buf, n < c->data_len ? n : c->data_len);
	res_data(r, "after", map, n);
}

static void map_nothing(struct worker *w, const struct call *c, struct result *r, char *map,
			size_t n)
{
	(void)w;
	(void)c;
	(void)map;
	res_fmt(r, " msync=%d", msync(map, n, MS_SYNC));
}

static void g_mmap(struct gen *g, struct call *c)
{
	static const int64_t pages[] = {0, 0, 0, 0, 1, 2, 4, 16, 256};
	static const int64_t lens[] = {1, 100, 4096, 4097, 8192, 20000, 65536, 0};
	static const int64_t syncs[] = {MS_SYNC, MS_SYNC, MS_ASYNC, 0, MS_SYNC | MS_INVALIDATE};

	c->slot = gen_slot(g, HINT_FILE);
	c->n[0] = GEN_FROM(g, pages);
	c->n[1] = GEN_FROM(g, lens);
	c->n[2] = GEN_FROM(g, syncs);
	gen_data(g, c);
	if (c->data_len > 65536)
		c->data_len = 65536;
}

static void x_mmap_shared(struct worker *w, const struct call *c, struct result *r)
{
	map_file(w, c, r, MAP_SHARED, map_store);
}

static void x_mmap_private(struct worker *w, const struct call *c, struct result *r)
{
	map_file(w, c, r, MAP_PRIVATE, map_load);
}

static void x_mmap_untouched(struct worker *w, const struct call *c, struct result *r)
{
	map_file(w, c, r, MAP_SHARED, map_nothing);
}

static void g_slot(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, gen_chance(g, 80) ? HINT_FILE : HINT_ANY);
}

static void x_fsync(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, fsync(worker_fd(w, c->slot)));
}

static void x_fdatasync(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, fdatasync(worker_fd(w, c->slot)));
}

static void x_syncfs(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, syncfs(worker_fd(w, c->slot)));
}

static void g_range(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_FILE);
	c->n[0] = gen_off(g);
	c->n[1] = gen_len(g);
	c->n[2] = gen_below(g, 8);
}

static void x_sync_file_range(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, sync_file_range(worker_fd(w, c->slot), c->n[0], c->n[1], (unsigned int)c->n[2]));
}

static void x_fadvise(struct worker *w, const struct call *c, struct result *r)
{
	res_fmt(r, " error=%d",
		posix_fadvise(worker_fd(w, c->slot), c->n[0], c->n[1], (int)c->n[2]));
}

static void x_readahead(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, readahead(worker_fd(w, c->slot), c->n[0], c->n[1]));
}

/* A small limit is lifted again by the scene that sets it. */
static void g_fsize(struct gen *g, struct call *c)
{
	(void)g;
	c->n[0] = -1;
}

static void x_fsize(struct worker *w, const struct call *c, struct result *r)
{
	struct rlimit rl;

	(void)w;
	getrlimit(RLIMIT_FSIZE, &rl);
	rl.rlim_cur = c->n[0] < 0 ? rl.rlim_max : (rlim_t)c->n[0];
	res_set(r, setrlimit(RLIMIT_FSIZE, &rl));
}

static void x_ficlone(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, ioctl(worker_fd(w, c->slot2), FICLONE, worker_fd(w, c->slot)));
}

static void x_ficlonerange(struct worker *w, const struct call *c, struct result *r)
{
	struct file_clone_range range = {
		.src_fd = worker_fd(w, c->slot),
		.src_offset = c->n[0],
		.src_length = c->n[2],
		.dest_offset = c->n[1],
	};

	res_set(r, ioctl(worker_fd(w, c->slot2), FICLONERANGE, &range));
}

static const struct kind kinds[] = {
	{"fallocate", "sLDD", 45, g_fallocate, x_fallocate},
	{"copy_file_range", "stDDDX", 30, g_copy, x_copy_file_range},
	{"sendfile", "stDD", 12, g_sendfile, x_sendfile},
	{"sendfile_pipe", "sDD", 8, g_to_pipe, x_sendfile_pipe},
	{"splice_read", "sDD", 10, g_to_pipe, x_splice_read},
	{"splice_write", "sDd", 10, g_splice_write, x_splice_write},
	{"mmap_shared", "sDDXd", 18, g_mmap, x_mmap_shared},
	{"mmap_private", "sDDXd", 10, g_mmap, x_mmap_private},
	{"mmap_untouched", "sDD", 4, g_mmap, x_mmap_untouched},
	{"fsync", "s", 6, g_slot, x_fsync},
	{"fdatasync", "s", 5, g_slot, x_fdatasync},
	{"syncfs", "s", 2, g_slot, x_syncfs},
	{"sync_file_range", "sDDX", 5, g_range, x_sync_file_range},
	{"fadvise", "sDDX", 5, g_range, x_fadvise},
	{"readahead", "sDD", 3, g_range, x_readahead},
	{"rlimit_fsize", "D", 1, g_fsize, x_fsize},
	{"ficlone", "st", 15, g_copy, x_ficlone, .beyond_fuse = true},
	{"ficlonerange", "stDDD", 15, g_copy, x_ficlonerange, .beyond_fuse = true},
};

const struct kind_set kinds_space = {kinds, ARRAY_SIZE(kinds)};
