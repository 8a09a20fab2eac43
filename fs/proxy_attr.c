/* Attributes of files in a medium: stat, chmod, chown, truncate, utimes, statfs. */
#include "ops.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <time.h>

#include "access.h"
#include "creds.h"

static void reply_attr(struct request *req, struct medium *m, const struct node_info *node,
		       const struct stat *st, uint64_t valid_s)
{
	struct fuse_attr_out out = {.attr_valid = valid_s};

	attr_fill(m, node, st, &out.attr);
	(void)reply_data(req, &out, sizeof(out));
}

/*
 * How long the kernel may keep attributes that were read after the look. Of a directory not at all
 * if a name has changed since: that makes what it has stale, but not what is on its way to it
 * (fuse_dir_changed() in fs/fuse/dir.c does not count as a change of attributes).
 */
static uint64_t valid_since(struct medium *m, const struct node_info *node, const struct stat *st,
			    const struct names_look *look)
{
	if (S_ISDIR(node->type) && !names_were_still(m, look))
		return 0;
	return attr_valid_s(node, st);
}

/* resolve_stat() for a reply: what is seen of a medium's directory is remembered. */
static int stat_seen(struct medium *m, const struct node_info *node, struct stat *ret_st)
{
	bool root = node->flags & NODE_MEDIUM_ROOT;
	unsigned changes = root ? root_medium_changes(m) : 0;
	int r = resolve_stat(m, node, ret_st);

	if (r == 0 && root)
		root_medium_seen(m, changes, ret_st);
	return r;
}

void op_getattr(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct names_look look = names_look(m);
	struct node_info now = *node;
	struct stat st;
	int r;

	mapping_check(req, m, &now);
	r = stat_seen(m, &now, &st);
	if (r < 0)
		(void)reply_error(req, r);
	else
		reply_attr(req, m, &now, &st, valid_since(m, &now, &st, &look));
}

static int read_birth(const struct place *p, void *data)
{
	if (statx(p->fd, p->name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BTIME, data) < 0)
		return -errno;
	return 0;
}

/* The time of birth, which is all that stat() does not have. Returns 0 or -errno. */
static int birth_of(struct medium *m, const struct node_info *node, struct wire_sx_time *ret_birth)
{
	struct timespec birth;
	struct statx sx = {0};
	int r = resolve_read(m, node, read_birth, &sx);

	if (r == -ESTALE && files_deleted_birth(&m->view->files, node->index, &birth) == 0) {
		*ret_birth = (struct wire_sx_time){birth.tv_sec, (uint32_t)birth.tv_nsec};
		return 0;
	}
	if (r < 0)
		return r;
	if (!(sx.stx_mask & STATX_BTIME))
		return -ENODATA;
	*ret_birth = (struct wire_sx_time){sx.stx_btime.tv_sec, sx.stx_btime.tv_nsec};
	return 0;
}

void op_statx(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct wire_statx_in *in = REQUEST_BODY(req, struct wire_statx_in);
	const struct names_look look = names_look(m);
	struct wire_statx_out out = {0};
	struct fuse_attr attr;
	struct stat st;
	int r = in ? stat_seen(m, node, &st) : -EINVAL;

	if (r < 0) {
		(void)reply_error(req, r);
		return;
	}
	out.attr_valid = valid_since(m, node, &st, &look);
	attr_fill(m, node, &st, &attr);
	attr_to_statx(&attr, &out.stat);
	if (birth_of(m, node, &out.stat.btime) == 0)
		out.stat.mask |= STATX_BTIME;
	(void)reply_data(req, &out, sizeof(out));
}

/* "/proc/self/fd/N/name": what has no *at() call of its own. */
static void place_path(const struct place *p, char *path, size_t size)
{
	(void)snprintf(path, size, "/proc/self/fd/%d%s%s", p->fd, *p->name ? "/" : "", p->name);
}

static int set_mode(const struct place *p, uint32_t mode)
{
	char path[LIMIT_FILE_NAME + 40];

	if (*p->name)
		return fchmodat(p->fd, p->name, mode & 07777, 0) < 0 ? -errno : 0;
	place_path(p, path, sizeof(path));
	return fchmodat(AT_FDCWD, path, mode & 07777, 0) < 0 ? -errno : 0;
}

int setid_creds(struct request *req, struct medium *m, int fd, const char *name, bool lose)
{
	struct stat st = {0};

	if (lose && fstatat(fd, name, &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!(st.st_mode & (S_ISUID | S_ISGID)))
		creds_assume(req, m, true);
	else
		creds_lose_setid(req, m,
				 access_in_group(req, st.st_gid) ? st.st_gid : req->head->gid);
	return 0;
}

/* root's capabilities are only looked at where it matters: that takes a look into /proc. */
static bool chown_loses_setid(const struct request *req, const struct place *p)
{
	struct stat st;

	if (req->head->uid != 0)
		return true;
	return fstatat(p->fd, p->name, &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_mode & S_ISGID && !access_root_has(req, CAP_FSETID);
}

/*
 * The real filesystem takes set-id bits away as it would from this caller, whose membership counts
 * in the old group (setattr_should_drop_sgid()) and in the new one (setattr_copy()).
 */
static int set_owner(struct request *req, struct medium *m, const struct place *p,
		     const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
	uint32_t owner_uid;
	uint32_t owner_gid;
	bool joins;
	int r;

	if (medium_owner(m, &owner_uid,
			 &owner_gid)) /* accepted and ignored: the owner is a matter of the view */
		return 0;
	r = setid_creds(req, m, p->fd, p->name, chown_loses_setid(req, p));
	if (r < 0)
		return r;
	joins = req->head->uid != 0 && in->valid & FATTR_GID && access_in_group(req, in->gid);
	if (joins)
		access_join_group(in->gid);
	r = fchownat(p->fd, p->name, uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno
											: 0;
	if (joins)
		access_leave_group();
	creds_assume(req, m, true);
	return r;
}

/*
 * Not a truncation that somebody asked for: after an O_DIRECT write that failed, the kernel sends
 * one to the size that the file has had all the time (fs/fuse/file.c, fuse_direct_IO).
 */
static bool size_restored(struct file *f, uint64_t size)
{
	struct stat st;

	return atomic_exchange(&f->direct_refused, false) && fstat(f->fd, &st) == 0 &&
	       (uint64_t)st.st_size == size;
}

static int set_size(struct request *req, struct medium *m, const struct node_info *node,
		    const struct place *p, const struct fuse_setattr_in *in)
{
	char path[LIMIT_FILE_NAME + 40];
	struct file *f = NULL;
	int r;

	r = setid_creds(req, m, p->fd, p->name, in->valid & FATTR_KILL_SUIDGID);
	if (r < 0)
		return r;
	if (in->valid & FATTR_FH) {
		r = files_get(&m->view->files, in->fh, &f);
		if (r < 0)
			return r;
	}
	if (f && size_restored(f, in->size)) {
		r = 0;
	} else if (f && f->fd >= 0 && f->writer) {
		r = ftruncate(f->fd, (off_t)in->size) < 0 ? -errno : 0;
	} else {
		place_path(p, path, sizeof(path));
		r = truncate(path, (off_t)in->size) < 0 ? -errno : 0;
	}
	if (f)
		file_put(&m->view->files, f);
	return r;
}

static struct timespec time_of(uint32_t valid, uint32_t now_flag, uint32_t flag, uint64_t s,
			       uint32_t ns)
{
	if (valid & now_flag)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	if (valid & flag)
		return (struct timespec){.tv_sec = (time_t)s, .tv_nsec = ns};
	return (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int set_times(const struct place *p, const struct fuse_setattr_in *in)
{
	struct timespec times[2] = {
		time_of(in->valid, FATTR_ATIME_NOW, FATTR_ATIME, in->atime, in->atimensec),
		time_of(in->valid, FATTR_MTIME_NOW, FATTR_MTIME, in->mtime, in->mtimensec),
	};
	char path[LIMIT_FILE_NAME + 40];

	if (*p->name)
		return utimensat(p->fd, p->name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	place_path(p, path, sizeof(path));
	return utimensat(AT_FDCWD, path, times, 0) < 0 ? -errno : 0;
}

/*
 * The set-id bits that a change of a file by the request's caller takes away from it:
 * setattr_should_drop_suidgid() in fs/attr.c.
 */
static uint32_t setid_dropped(const struct request *req, const struct stat *st)
{
	uint32_t drop = st->st_mode & S_ISUID;

	if (S_ISDIR(st->st_mode) || S_ISLNK(st->st_mode))
		return 0;
	if (!(st->st_mode & S_ISGID))
		return drop;
	/* without group execution it is kept for members of the group */
	if (st->st_mode & S_IXGRP ||
	    (!access_root_has(req, CAP_FSETID) && !access_in_group(req, st->st_gid)))
		drop |= S_ISGID;
	return drop;
}

int setid_kill(struct request *req, const struct stat *st, int fd, const char *name)
{
	uint32_t drop = setid_dropped(req, st);

	if (drop == 0)
		return 0;
	if (!*name)
		return fchmod(fd, st->st_mode & 07777 & ~drop) < 0 ? -errno : 0;
	return fchmodat(fd, name, st->st_mode & 07777 & ~drop, 0) < 0 ? -errno : 0;
}

/* chown(-1, -1): only the ctime is left to be changed. Returns 0 or -1 and errno. */
static int chown_nothing(struct medium *m, const struct place *p)
{
	uint32_t uid;
	uint32_t gid;

	if (medium_owner(m, &uid, &gid)) /* accepted and ignored, as in set_owner() */
		return 0;
	return fchownat(p->fd, p->name, (uid_t)-1, (gid_t)-1, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
}

/*
 * A write by a caller who may not keep set-id bits reaches us, before the write, as a SETATTR
 * that sets nothing: notify_change() asks for ATTR_KILL_SUID and ATTR_KILL_SGID, which FUSE leaves
 * to a server with HANDLE_KILLPRIV_V2 (fs/fuse/dir.c, fuse_setattr). So the backing files of
 * passthrough can be registered with CAP_FSETID, and the writer counts, not the opener.
 * chown(-1, -1) looks the same: it is taken for one where nobody has the file open for writing.
 * Both change the ctime.
 */
static int strip_setid(struct request *req, struct medium *m, const struct node_info *node,
		       const struct place *p)
{
	bool fsetid = access_root_has(req, CAP_FSETID);
	/* root's writes ask for it only together with the removal of security.capability */
	bool write = files_node_written(&m->view->files, node->index) &&
		     (!fsetid || node->flags & NODE_CAP_REMOVED);
	struct stat st;
	int r = resolve_stat(m, node, &st);

	nodes_set_flags(&m->view->nodes, node->index, 0, NODE_CAP_REMOVED);
	if (r < 0 || (write && fsetid))
		return r; /* only its capabilities go */
	if (!write && req->head->uid != st.st_uid && !access_root_has(req, CAP_FOWNER) &&
	    setid_dropped(req, &st) != 0)
		return -EPERM;
	r = setid_kill(req, &st, p->fd, p->name);
	if (r == 0 && chown_nothing(m, p) < 0 && !write)
		r = -errno;
	return r;
}

static int set_all(struct request *req, struct medium *m, const struct node_info *node,
		   const struct place *p, const struct fuse_setattr_in *in)
{
	int r = 0;

	/* fchmodat() and truncate() would follow it; Linux before 6.6 asks for such a mode */
	if (S_ISLNK(node->type) && in->valid & (FATTR_MODE | FATTR_SIZE))
		return -EOPNOTSUPP;
	if (in->valid & FATTR_SIZE)
		r = set_size(req, m, node, p, in);
	/* the kernel has stripped what this caller may not set: keep the rest */
	creds_assume(req, m, true);
	if (!(in->valid & ~(uint32_t)(FATTR_FH | FATTR_LOCKOWNER | FATTR_KILL_SUIDGID)))
		return strip_setid(req, m, node, p);
	if (r == 0 && in->valid & (FATTR_UID | FATTR_GID)) {
		r = set_owner(req, m, p, in);
	}
	if (r == 0 && in->valid & FATTR_MODE)
		r = set_mode(p, in->mode);
	if (r == 0 && in->valid & (FATTR_ATIME | FATTR_MTIME))
		r = set_times(p, in);
	return r;
}

/*
 * A deleted file of which nothing is open: somebody has an O_PATH fd of it, and sees what he
 * changes. Only its content cannot be reached any more.
 */
static int set_remembered(struct medium *m, const struct node_info *node,
			  const struct fuse_setattr_in *in)
{
	struct stat st;

	if (in->valid & FATTR_SIZE || files_deleted_attr(&m->view->files, node->index, &st) < 0)
		return -ESTALE;
	if (in->valid & FATTR_MODE)
		st.st_mode = (st.st_mode & S_IFMT) | (in->mode & 07777);
	if (in->valid & FATTR_UID)
		st.st_uid = in->uid;
	if (in->valid & FATTR_GID)
		st.st_gid = in->gid;
	if (in->valid & FATTR_ATIME)
		st.st_atim = (struct timespec){(time_t)in->atime, in->atimensec};
	if (in->valid & FATTR_MTIME)
		st.st_mtim = (struct timespec){(time_t)in->mtime, in->mtimensec};
	(void)clock_gettime(CLOCK_REALTIME_COARSE, &st.st_ctim);
	return files_set_deleted_attr(&m->view->files, node->index, &st);
}

void op_setattr(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_setattr_in *in = REQUEST_BODY(req, struct fuse_setattr_in);
	_cleanup_place_ struct place p = PLACE_NONE;
	struct stat st;
	int r = in ? resolve(m, node, &p) : -EINVAL;

	if (r == 0) {
		request_changes(req, m);
		r = set_all(req, m, node, &p, in);
		if (node->flags & NODE_MEDIUM_ROOT)
			root_medium_changed(m);
	} else if (r == -ESTALE) {
		r = set_remembered(m, node, in);
	}
	if (r == 0)
		r = resolve_stat(m, node, &st);
	if (r < 0)
		(void)reply_error(req, r);
	else
		reply_attr(req, m, node, &st, attr_valid_s(node, &st));
}

void op_statfs(struct request *req, struct medium *m, const struct node_info *node)
{
	struct fuse_statfs_out out = {0};
	struct statfs fs;

	if (fstatfs(m->root_fd, &fs) < 0) {
		(void)reply_error(req, -errno);
		return;
	}
	out.st = (struct fuse_kstatfs){
		.blocks = fs.f_blocks,
		.bfree = fs.f_bfree,
		.bavail = fs.f_bavail,
		.files = fs.f_files,
		.ffree = fs.f_ffree,
		.bsize = (uint32_t)fs.f_bsize,
		.namelen = (uint32_t)fs.f_namelen,
		.frsize = (uint32_t)fs.f_frsize,
	};
	(void)reply_data(req, &out, sizeof(out));
}
