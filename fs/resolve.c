#include "resolve.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>

#include "view_internal.h"

#define RESOLVE_TRIES 50

void place_done(struct place *p)
{
	if (p->dir)
		dirs_put(&p->view->dirs, p->dir);
	if (p->loan.fd >= 0)
		files_return(&p->view->files, &p->loan);
	*p = (struct place)PLACE_NONE;
}

/* One system call from a directory above; nothing can lead out of the medium. */
static int open_beneath(int fd, const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV,
	};
	int r = (int)syscall(SYS_openat2, fd, path, &how, sizeof(how));

	return r < 0 ? -errno : r;
}

static int dir_fd(struct medium *m, uint32_t index, struct dir **ret_dir, unsigned depth);

/* Opens a directory by its path from the root, in pieces if that is longer than PATH_MAX. */
static int dir_open(struct medium *m, uint32_t index, unsigned depth)
{
	_cleanup_free_ struct node_path *path = malloc(sizeof(*path));
	struct dir *base = NULL;
	int fd;
	int r;

	if (!path)
		return -ENOMEM;
	if (depth > 256)
		return -ENAMETOOLONG;
	r = nodes_dir_path(&m->view->nodes, index, path);
	if (r < 0)
		return r;
	fd = dir_fd(m, path->base, &base, depth + 1);
	if (fd < 0)
		return fd;
	r = open_beneath(fd, path->path);
	if (base)
		dirs_put(&m->view->dirs, base);
	return r;
}

/* Whether directories stand still, and the count by which a later look can tell that they did. */
static bool still(struct medium *m, unsigned *ret_done)
{
	*ret_done = atomic_load(&m->renames_done);
	return atomic_load(&m->renames_running) == 0;
}

static bool still_since(struct medium *m, unsigned done)
{
	unsigned now;

	return still(m, &now) && now == done;
}

/* The fd of a directory: the medium's root, or from the cache (then ret_dir is set). */
static int dir_fd(struct medium *m, uint32_t index, struct dir **ret_dir, unsigned depth)
{
	uint8_t flags;
	uint64_t nodeid = nodes_id(&m->view->nodes, index, &flags);

	if (flags & NODE_MEDIUM_ROOT)
		return m->root_fd;
	*ret_dir = dirs_find(&m->view->dirs, nodeid);
	while (!*ret_dir) {
		unsigned done;
		bool was_still = still(m, &done);
		int fd = dir_open(m, index, depth);

		if (was_still && still_since(m, done)) {
			if (fd < 0)
				return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
			*ret_dir = dirs_add(&m->view->dirs, m, nodeid, fd);
			return *ret_dir ? fd : -ENOMEM;
		}
		close_fd(fd);
		medium_rename_wait(m);
	}
	return (*ret_dir)->fd;
}

int resolve_dir(struct medium *m, const struct node_info *node, struct place *ret_place)
{
	struct place p = PLACE_NONE;

	p.view = m->view;
	p.fd = dir_fd(m, node->index, &p.dir, 0);
	if (p.fd == -ESTALE && files_borrow(&m->view->files, node->index, &p.loan) == 0)
		p.fd = p.loan.fd;
	if (p.fd < 0)
		return p.fd;
	*ret_place = p;
	return 0;
}

/* The number-th name of the node, or -ENOENT when it has no more. */
static int place_by_name(struct medium *m, uint32_t index, unsigned number, struct place *p)
{
	uint32_t parent;
	int r = nodes_name(&m->view->nodes, index, number, &parent, p->name);

	if (r < 0)
		return r;
	p->fd = dir_fd(m, parent, &p->dir, 0);
	return p->fd < 0 ? p->fd : 0;
}

/* By its first name, or as what is open of it: name "". */
static int place_unchecked(struct medium *m, const struct node_info *node, struct place *ret_place)
{
	struct place p = PLACE_NONE;
	int r = 0;

	p.view = m->view;
	if (node->flags & NODE_MEDIUM_ROOT) {
		p.fd = m->root_fd;
	} else {
		r = place_by_name(m, node->index, 0, &p);
		if (r < 0) {
			p.name[0] = '\0';
			r = files_borrow(&m->view->files, node->index, &p.loan);
			p.fd = p.loan.fd;
		}
	}
	if (r < 0)
		return -ESTALE;
	*ret_place = p;
	return 0;
}

int resolve(struct medium *m, const struct node_info *node, struct place *ret_place)
{
	if (S_ISDIR(node->type))
		return resolve_dir(m, node, ret_place);
	return place_unchecked(m, node, ret_place);
}

bool resolve_same(struct medium *m, const struct node_info *node, const struct stat *st)
{
	if ((st->st_mode & S_IFMT) != node->type)
		return false;
	if (node->flags & (NODE_BY_NAME | NODE_MEDIUM_ROOT))
		return true;
	return st->st_ino == node->key.ino && subvolume_is(m, st->st_dev, node->key.dev);
}

struct names_look names_look(struct medium *m)
{
	unsigned ended = atomic_load(&m->names_ended); /* first: see sync_names() */
	unsigned begun = atomic_load(&m->names_begun);

	return (struct names_look){.still = ended == begun, .begun = begun};
}

bool names_were_still(struct medium *m, const struct names_look *look)
{
	return look->still && atomic_load(&m->names_begun) == look->begun;
}

int resolve_read(struct medium *m, const struct node_info *node, resolve_fn fn, void *data)
{
	_cleanup_place_ struct place p = PLACE_NONE;
	struct place exact = PLACE_NONE;
	_cleanup_close_ int fd = -EBADF;
	struct names_look look;
	int r;

	p.view = m->view;
	if (files_borrow(&m->view->files, node->index, &p.loan) == 0) {
		p.fd = p.loan.fd;
		return fn(&p, data);
	}
	look = names_look(m);
	r = place_unchecked(m, node, &p);
	if (r == 0)
		r = fn(&p, data);
	if ((p.fd >= 0 && !*p.name) || names_were_still(m, &look))
		return r;
	fd = resolve_open(m, node, O_PATH);
	if (fd < 0)
		return fd;
	exact.fd = fd;
	return fn(&exact, data);
}

/* How a node is tried under one of its names. Returns -ESTALE to go on with the next. */
typedef int (*try_fn)(struct medium *m, const struct node_info *node, const struct place *p,
		      void *data);

/* It has lost its last name, and gets no other one. */
static bool is_nameless(const struct medium *m, const struct node_info *node)
{
	uint8_t flags;

	(void)nodes_id(&m->view->nodes, node->index, &flags);
	return flags & NODE_NAMELESS;
}

/*
 * Between the call on the disk and the table: a name of one of them is missing in the other. Who
 * asks may be one of those that change names, and two of them must not wait for each other.
 */
static void names_wait(struct medium *m, unsigned done)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	medium_move_wait(m, done);
	if (atomic_load(&m->names_begun) != atomic_load(&m->names_ended))
		(void)nanosleep(&pause, NULL);
}

static int try_names(struct medium *m, const struct node_info *node, try_fn fn, void *data)
{
	for (int i = 0; i < RESOLVE_TRIES; i++) {
		unsigned done = atomic_load(&m->moves_done);
		const struct names_look look = names_look(m);

		for (unsigned number = 0;; number++) {
			_cleanup_place_ struct place p = PLACE_NONE;
			int r;

			p.view = m->view;
			r = place_by_name(m, node->index, number, &p);
			if (r == -ENOENT)
				break;
			if (r == 0)
				r = fn(m, node, &p, data);
			if (r != -ESTALE && r != -ENOENT)
				return r;
		}
		if (is_nameless(m, node) || names_were_still(m, &look))
			break;
		if (i > 0)
			names_wait(m, done);
	}
	return -ESTALE;
}

static int try_stat(struct medium *m, const struct node_info *node, const struct place *p,
		    void *data)
{
	struct stat st;

	if (fstatat(p->fd, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!resolve_same(m, node, &st))
		return -ESTALE;
	*(struct stat *)data = st;
	return 0;
}

int resolve_stat(struct medium *m, const struct node_info *node, struct stat *ret_st)
{
	struct file_loan loan;
	int r;

	if (node->flags & NODE_MEDIUM_ROOT)
		return fstat(m->root_fd, ret_st) < 0 ? -errno : 0;
	if (files_borrow(&m->view->files, node->index, &loan) == 0) {
		r = fstat(loan.fd, ret_st) < 0 ? -errno : 0;
		files_return(&m->view->files, &loan);
		return r;
	}
	r = try_names(m, node, try_stat, ret_st);
	if (r == -ESTALE && files_deleted_attr(&m->view->files, node->index, ret_st) == 0)
		return 0;
	return r;
}

struct open_try {
	int flags;
	int fd;
};

/* What a file of another kind, which has the name by now, answers to an open. */
static bool is_of_another_kind(int err)
{
	return err == -ENXIO || err == -ELOOP || err == -ENOTDIR || err == -EISDIR;
}

/*
 * Before it is known whose name it is. That of a FIFO would be waited for until its other end
 * comes, which may be never: hence O_NONBLOCK. It means nothing to the files that are opened here,
 * nor to their clients (backing_file_open() takes the flags of these), except that a lease is not
 * waited for. Returns an fd, -EWOULDBLOCK for a lease, or -errno.
 */
static int open_unchecked(const struct place *p, int flags)
{
	int fd = openat(p->fd, p->name, flags | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return is_of_another_kind(-errno) ? -ESTALE : -errno;
	return fd;
}

static int open_again(int fd, int flags)
{
	char path[40];
	int again;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	return again < 0 ? -errno : again;
}

static int try_open(struct medium *m, const struct node_info *node, const struct place *p,
		    void *data)
{
	struct open_try *try = data;
	_cleanup_close_ int fd = open_unchecked(p, try->flags);
	bool leased = fd == -EWOULDBLOCK;
	struct stat st;

	if (leased)
		fd = open_unchecked(p, O_PATH);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || !resolve_same(m, node, &st))
		return -ESTALE;
	try->fd = leased ? open_again(fd, try->flags) : TAKE_FD(fd);
	return MIN(try->fd, 0);
}

/* A deleted file once more, through an fd of it. */
static int reopen(struct medium *m, const struct node_info *node, int flags)
{
	struct file_loan loan;
	int fd;

	if (files_borrow(&m->view->files, node->index, &loan) < 0)
		return -ESTALE;
	fd = open_again(loan.fd, flags);
	files_return(&m->view->files, &loan);
	return fd;
}

int resolve_open(struct medium *m, const struct node_info *node, int flags)
{
	struct open_try try = {.flags = flags, .fd = -EBADF};
	int r;

	if (node->flags & NODE_MEDIUM_ROOT) {
		int fd = openat(m->root_fd, ".", flags | O_NOFOLLOW | O_CLOEXEC);

		return fd < 0 ? -errno : fd;
	}
	r = try_names(m, node, try_open, &try);
	if (r == -ESTALE)
		return reopen(m, node, flags);
	return r < 0 ? r : try.fd;
}
