/* SPDX-License-Identifier: Apache-2.0 */
/*
 * difftest: one generated sequence of system calls, run on two directories, compared call by call.
 *
 * The main process generates calls (gen.c, scene.c), hands each to one worker process per side
 * (rpc.c), compares the two results (compare.c) and from time to time the two trees (tree.c).
 * What can be called is a table of kinds (exec_*.c): a generator and an executor per kind.
 */
#ifndef DIFFTEST_H
#define DIFFTEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define SLOTS	     12		  /* open files per worker */
#define PATH_CAP     4352	  /* longer than PATH_MAX on purpose */
#define NAME_CAP     300	  /* xattr names, up to one more than allowed */
#define BLOB_CAP     256	  /* ACLs and capabilities */
#define OUT_CAP	     (48 * 1024)  /* text of one result */
#define BUF_SIZE     (512 * 1024) /* a worker's I/O buffer, page aligned */
#define LEN_MAX	     (320 * 1024) /* longest transfer */
#define PIPE_LEN_MAX (15 * 4096)  /* what a pipe takes at any page offset */
#define QUEUE_CAP    96		  /* calls of one scene */
#define RECENT	     12		  /* remembered paths per class */
#define RECENT_LEN   400
#define NAP_MS	     12 /* more than a tick of the coarse clock */

enum side {
	SIDE_A,
	SIDE_B,
	SIDE_MAX
};
enum user {
	USER_ROOT,
	USER_ONE,
	USER_TWO,
	USER_NOBODY,
	USER_MAX
};

/* What a path is relative to; a value >= 0 is the number of a slot. */
enum base {
	BASE_CWD = -1,
	BASE_ROOT = -2
};

struct path {
	int base;
	char s[PATH_CAP];
};

/* One call. n[] are the numbers, in the order in which the kind's "args" shows them. */
struct call {
	uint32_t no;
	uint16_t kind;
	uint8_t user;
	int slot;
	int slot2;
	int64_t n[6];
	uint32_t data_len; /* length and seed of the bytes written */
	uint32_t data_seed;
	uint32_t blob_len;
	uint8_t blob[BLOB_CAP];
	char name[NAME_CAP];
	struct path p;
	struct path q;
};

/* What came of it: "out" holds every output as blank separated key=value fields. */
struct result {
	int64_t ret;
	int err;
	uint32_t len;
	char out[OUT_CAP];
};

/* ---- rng.c: the only source of chance, a function of the seed ---- */

struct rng {
	uint64_t s;
};

uint64_t rng_next(struct rng *r);
/* Returns a number in [0, n). */
uint32_t rng_below(struct rng *r, uint32_t n);

/* ---- gen.c: one call ---- */

/* What the generator believes a slot holds; the sequence never depends on results. */
enum hint {
	HINT_NONE,
	HINT_FILE,
	HINT_DIR,
	HINT_PATH,
	HINT_ANY
};
/* Which part of the name pool a leaf comes from. */
enum cls {
	CLS_DIR,
	CLS_FILE,
	CLS_LINK,
	CLS_SPECIAL,
	CLS_ANY
};
/* One more class of remembered paths: those that got an xattr. */
#define CLS_XATTR CLS_ANY

struct recent {
	unsigned int user;
	char s[RECENT_LEN]; /* absolute, or empty */
};

struct gen {
	struct rng rng;
	unsigned int user;
	bool beyond_fuse; /* with what FUSE cannot do */
	unsigned int total_weight;
	unsigned int next[CLS_ANY + 1];
	struct recent recent[CLS_ANY + 1][RECENT];
	enum hint hint[USER_MAX][SLOTS];
	unsigned int head, used; /* the queued calls of a scene */
	struct call queue[QUEUE_CAP];
};

void gen_init(struct gen *g, uint64_t seed, bool beyond_fuse);
/* Produces the next call of the sequence. */
void gen_next(struct gen *g, uint32_t no, struct call *ret_c);

uint32_t gen_below(struct gen *g, uint32_t n);
bool gen_chance(struct gen *g, unsigned int percent);
int64_t gen_from(struct gen *g, const int64_t *tab, size_t n);
#define GEN_FROM(g, tab) gen_from(g, tab, ARRAY_SIZE(tab))
/* A combination of the flags in the table, each with its own percentage. */
struct flag_odds {
	int64_t flag;
	unsigned int percent;
};
int64_t gen_flags(struct gen *g, const struct flag_odds *tab, size_t n);
#define GEN_FLAGS(g, tab) gen_flags(g, tab, ARRAY_SIZE(tab))

/* For calls without a directory fd: absolute, or relative to the working directory. */
void gen_path(struct gen *g, struct path *p, enum cls cls);
/* For the *at() calls: also relative to the root fd or to a slot. */
void gen_path_at(struct gen *g, struct path *p, enum cls cls);
/* For new names: in a directory that probably exists, and often not taken yet. */
void gen_path_new(struct gen *g, struct path *p, enum cls cls);
/* A path that an earlier call made; false when there is none. */
bool gen_recent(struct gen *g, struct path *p, enum cls cls);
int gen_slot(struct gen *g, enum hint want);
/* Notes that the current user's slot is about to hold something. */
void gen_hint(struct gen *g, int slot, enum hint hint);
const char *gen_name(struct gen *g, enum cls cls);
int64_t gen_mode(struct gen *g);
int64_t gen_mode_dir(struct gen *g);
int64_t gen_len(struct gen *g);
int64_t gen_off(struct gen *g);
int64_t gen_id(struct gen *g);
unsigned int gen_user(struct gen *g);
void gen_data(struct gen *g, struct call *c);
void gen_times(struct gen *g, int64_t n[4]);
int64_t gen_open_flags(struct gen *g);
void gen_acl(struct gen *g, struct call *c, bool valid, bool dflt);
void gen_cap(struct gen *g, struct call *c);

/* ---- scene.c, scene_*.c: short plays of several calls ---- */

struct scene {
	void (*play)(struct gen *g);
	unsigned int weight;
};

struct scene_set {
	const struct scene *scenes;
	size_t n;
};

/* The scene that makes the first directories: first in its table. */
void scene_first(struct gen *g);
/* Queues a random one. */
void scene_queue(struct gen *g);
/* Queues an empty call of that kind by that user; fields are then filled in by hand. */
struct call *scene_call(struct gen *g, unsigned int user, const char *kind);
/* Queues a call of that kind filled in by its own generator. */
struct call *scene_any(struct gen *g, unsigned int user, const char *kind);
struct call *scene_path(struct gen *g, unsigned int user, const char *kind, const char *p,
			int64_t n0);
struct call *scene_two(struct gen *g, unsigned int user, const char *kind, const char *p,
		       const char *q);
struct call *scene_slot(struct gen *g, unsigned int user, const char *kind, int slot);
struct call *scene_open(struct gen *g, unsigned int user, int slot, const char *p, int64_t flags,
			int64_t mode);
struct call *scene_write(struct gen *g, unsigned int user, int slot, int64_t len);
/* One random call that changes data or attributes of the file, by path or by slot. */
struct call *scene_mutate(struct gen *g, unsigned int user, const char *p, int slot);

/* An absolute path of the pool. */
struct name {
	char s[320];
};
struct name scene_name(struct gen *g, enum cls cls);

extern const struct scene_set scenes_file, scenes_meta, scenes_dir;

/* ---- worker.c: a process that executes calls as one user on one side ---- */

struct mark {
	bool set;
	ino_t ino;
	struct timespec mtime, ctime;
};

struct worker {
	enum side side;
	enum user user;
	bool root_only; /* whoever the user is, the process stays root */
	bool beyond_fuse;
	int root_fd;
	int proc_fd; /* /proc/self/fd */
	int pipe[2];
	int fd[SLOTS];
	ino_t ino[SLOTS]; /* as first seen by fstat, 0 before */
	char *buf;
	time_t start;
	struct mark mark[2];
};

/* Runs until killed; never returns. chan is a struct chan. */
void worker_run(struct worker *w, const char *dir, void *chan) __attribute__((noreturn));
int worker_dirfd(const struct worker *w, const struct path *p);
/* Returns the fd in a slot, or -1, with which every call is EBADF. */
int worker_fd(const struct worker *w, int slot);
/* Closes what the slot held, puts fd there. Taken: fd. */
void worker_put(struct worker *w, int slot, int fd);
/* Puts fd (if >= 0) into the slot and sets the result. Taken: fd. */
void worker_opened(struct worker *w, struct result *r, int slot, int fd);
/* Adds O_NONBLOCK where open() could wait for the other end of a FIFO. */
int worker_nonblock(const struct worker *w, int dirfd, const char *path, int flags);
/* Is it the directory under test itself? Shutting that would end all interesting calls. */
bool worker_is_top(const struct worker *w, int fd);
/* Says whether the slot holds a regular file or a directory. */
bool worker_plain(const struct worker *w, int slot);
/* Fills the buffer with the call's data. */
void worker_fill(struct worker *w, const struct call *c);

/* ---- fuse.c: what FUSE decides by itself; with --beyond-fuse none of these does a thing ---- */

/* Whether a server cannot see how the memory of a transfer is aligned (O_DIRECT). */
bool fuse_hides_memory(const struct worker *w, int fd);
/*
 * For a call that leaves set-id bits and capabilities if it changes nothing: they are there, and
 * FUSE would take them away first. True: leave the call out; the result says so.
 */
bool fuse_strips_first(const struct worker *w, int fd, struct result *r);
/* The same for a write; only O_DIRECT ones are refused for their position (-1: the file's). */
bool fuse_strips_write(const struct worker *w, int fd, int64_t off, size_t len, struct result *r);
/* Where to write: O_DIRECT at the end of a file always gives that position (-1: the file's). */
int64_t fuse_write_pos(const struct worker *w, int fd, int64_t off, int rwf);
/* Puts the position of a directory, which is the filesystem's business, to the start. Is it one? */
bool fuse_dir_start(const struct worker *w, int fd);
/* Append-only, of which FUSE knows nothing. True: leave the call out; the result says so. */
bool fuse_append_only(const struct worker *w, int fd, struct result *r);
/* The call had nothing to do: that an immutable file refuses it all the same is no failure. */
void fuse_nothing_done(const struct worker *w, struct result *r);

/* README.md, "Known to differ": a deleted file of which only this is left. True: leave it out. */
bool known_deleted_path(const struct worker *w, int fd, struct result *r);

void res_set(struct result *r, int64_t ret);
void res_fmt(struct result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void res_data(struct result *r, const char *key, const void *data, size_t len);
void res_name(struct result *r, const char *key, const char *name, size_t len);
void res_time(struct result *r, const struct worker *w, const char *key, struct timespec t);
void res_stat(struct result *r, const struct worker *w, const struct stat *st);
uint64_t hash_bytes(uint64_t h, const void *data, size_t len);
/* Escapes blanks, '=' and what is not printable; the result always ends with NUL. */
void escape(char *out, size_t cap, const char *s, size_t len);
/* Writes "now" for times near start, else seconds.nanoseconds. */
void time_text(char *out, size_t cap, time_t start, struct timespec t);

/* ---- kinds.c, exec_*.c: what can be called ---- */

struct kind {
	const char *name;
	const char *args; /* how to print a call: see describe.c */
	unsigned int weight;
	void (*gen)(struct gen *g, struct call *c);
	void (*exec)(struct worker *w, const struct call *c, struct result *r);
	bool beyond_fuse; /* only with --beyond-fuse */
	/* What it leaves behind: p or q a new name, o p if O_CREAT is in n[0], x an xattr on p. */
	char makes;
};

struct kind_set {
	const struct kind *kinds;
	size_t n;
};

extern const struct kind_set kinds_open, kinds_data, kinds_space, kinds_stat, kinds_attr,
	kinds_name, kinds_dir, kinds_xattr, kinds_lock;

const struct kind *kind_at(unsigned int i);
unsigned int kind_count(void);
/* Returns the number of the kind; aborts on a name that is in no table. */
unsigned int kind_find(const char *name);
/* Returns -1 for an unknown name. */
int kind_lookup(const char *name);

/* Calls newer than the C library's headers. */
int sys_fchmodat2(int fd, const char *path, mode_t mode, int flags);
int sys_faccessat2(int fd, const char *path, int mode, int flags);

/* ---- rpc.c: main process to workers ---- */

struct pool {
	struct chan *chan[SIDE_MAX][USER_MAX];
	pid_t pid[SIDE_MAX][USER_MAX];
	uint32_t seq;
};

/* The worker's half: waits for a call, and says that the result is there. */
const struct call *chan_wait(struct chan *ch);
struct result *chan_result(struct chan *ch);
void chan_done(struct chan *ch);

struct run;
/* Starts all workers. Returns 0 or a negative errno. */
int pool_start(struct pool *p, const struct run *run);
void pool_stop(struct pool *p);
/*
 * Runs c on both sides at once; the results stay valid until the user's next call.
 * Returns 0, or -ETIME or -ECHILD after printing which side did not answer.
 */
int pool_call(struct pool *p, const struct call *c, const struct result *ret_r[SIDE_MAX]);

/* ---- describe.c, compare.c: what the reader sees ---- */

void describe_call(const struct call *c, char *out, size_t cap);
bool result_same(const struct result *a, const struct result *b);
/* Both failed, and only which of two errors came first differs in a way that FUSE cannot help. */
bool result_same_refusal(const struct result *a, const struct result *b);
/* Prints one line with the call and the fields that differ. */
void result_report(const struct call *c, const struct result *a, const struct result *b);
void result_print(const struct call *c, const struct result *r);
/* Cuts the common fields out of two field lists. */
void fields_differ(const char *a, const char *b, char *out, size_t cap);

/* ---- tree.c: snapshots of whole trees ---- */

struct entry {
	char *path;
	char *text;
	ino_t ino;
};

struct tree {
	struct entry *e;
	size_t n, cap;
};

int tree_read(const char *dir, time_t start, struct tree *ret_t);
void tree_done(struct tree *t);

/*
 * Two snapshots of one side with nothing in between: every path must keep its inode number.
 * Prints each that does not on a line that starts with "when", unless that is NULL.
 */
unsigned int tree_same_inodes(const struct tree *before, const struct tree *after,
			      const char *when);

/* Differences that were reported before: a wrong file stays wrong until it goes. */
struct seen {
	uint64_t *hash;
	size_t n;
};

/* The same for the two sides: returns how many differences are new. */
unsigned int tree_compare(struct tree *a, struct tree *b, struct seen *seen, const char *when);

/* ---- clean.c ---- */

/* Returns 1 when the directory holds anything but lost+found, 0 when not. */
int clean_needed(const char *dir);
/* Removes everything but lost+found, whatever its flags. */
int clean_dir(const char *dir);
/* Gives the top directory itself its first state: 0777, root, no xattrs, no flags. */
int clean_top(const char *dir);

/* ---- run.c: a sequence, or chosen parts of it ---- */

struct run {
	const char *dir[SIDE_MAX];
	uint64_t seed;
	uint32_t calls;
	uint32_t from, to;
	uint32_t tree_every;
	uint32_t max_diffs;
	bool verbose, beyond_fuse, stats, drop_caches, root_only;
	bool *ignore;	  /* by kind: executed but not compared */
	bool *skip;	  /* by kind: not executed */
	const bool *keep; /* by call: executed; NULL for all */
	bool quiet;
	time_t start;
};

struct outcome {
	uint32_t done;	    /* calls executed */
	uint32_t kinds;	    /* different kinds among them */
	uint32_t diffs;	    /* calls or tree entries that differ */
	int64_t first;	    /* number of the first differing call, -1 when none */
	bool first_in_tree; /* the first difference was in a tree after that call */
	bool stuck;	    /* a worker did not answer: do not touch the trees */
};

/* Returns 0 or a negative errno; differences are no error. */
int run_calls(const struct run *run, struct outcome *ret_o);
/* Finds and prints few calls that still show the first difference. */
int run_minimize(const struct run *run, const struct outcome *found);

#endif
