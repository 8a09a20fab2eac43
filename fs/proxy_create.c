/* New names: directories, special files, symbolic and hard links. */
#include "ops.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "creds.h"

static dev_t rdev_decode(uint32_t dev)
{
	return makedev((dev & 0xfff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xfff00));
}

/* The result of a call that makes a name, which an earlier server may have made already. */
static int made(const struct request *req, int result)
{
	if (result < 0 && !(errno == EEXIST && request_resent(req)))
		return -errno;
	return 0;
}

/* Before a name is made: its directory, and the caller's rights. name_at: where it is. */
static int begin(struct request *req, struct medium *m, const struct node_info *node,
		 size_t name_at, uint32_t mask, struct place *ret_place, const char **ret_name)
{
	int r = request_name(req, name_at, ret_name);

	if (r == 0)
		r = resolve_dir(m, node, ret_place);
	if (r < 0)
		return r;
	creds_create(req, m, mask);
	request_changes(req, m);
	return 0;
}

void op_mkdir(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_mkdir_in *in = REQUEST_BODY(req, struct fuse_mkdir_in);
	_cleanup_place_ struct place p = PLACE_NONE;
	const char *name;
	int r = begin(req, m, node, sizeof(*in), in ? in->umask : 0, &p, &name);

	if (r == 0)
		r = made(req, mkdirat(p.fd, name, in->mode & 07777));
	entry_reply(req, m, node, r, name, p.fd);
}

void op_mknod(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_mknod_in *in = REQUEST_BODY(req, struct fuse_mknod_in);
	_cleanup_place_ struct place p = PLACE_NONE;
	const char *name;
	int r = begin(req, m, node, sizeof(*in), in ? in->umask : 0, &p, &name);

	if (r == 0)
		r = made(req, mknodat(p.fd, name, in->mode, rdev_decode(in->rdev)));
	entry_reply(req, m, node, r, name, p.fd);
}

void op_symlink(struct request *req, struct medium *m, const struct node_info *node)
{
	_cleanup_place_ struct place p = PLACE_NONE;
	const char *target = NULL;
	const char *name;
	int r = begin(req, m, node, 0, 0, &p, &name);

	if (r == 0) {
		target = request_text(req, strlen(name) + 1);
		r = target ? made(req, symlinkat(target, p.fd, name)) : -EINVAL;
	}
	entry_reply(req, m, node, r, name, p.fd);
}

/* linkat() from a node that has a name, or from an open file without one (O_TMPFILE). */
static int link_from(struct medium *m, const struct node_info *old, int dir_fd, const char *name)
{
	_cleanup_place_ struct place from = PLACE_NONE;
	char path[40];
	int r = resolve(m, old, &from);

	if (r < 0)
		return r == -ESTALE ? -ENOENT : r;
	/* AT_EMPTY_PATH would take CAP_DAC_READ_SEARCH, which not every server has */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", from.fd);
	r = *from.name ? linkat(from.fd, from.name, dir_fd, name, 0)
		       : linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW);
	return r < 0 ? -errno : 0;
}

void op_link(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_link_in *in = REQUEST_BODY(req, struct fuse_link_in);
	_cleanup_place_ struct place p = PLACE_NONE;
	struct node_info old;
	const char *name;
	int r = request_name(req, sizeof(*in), &name);

	if (r == 0)
		r = resolve_dir(m, node, &p);

	if (r == 0)
		r = nodes_get(&m->view->nodes, in->oldnodeid, &old);
	if (r == 0 && old.key.slot != m->slot)
		r = -EXDEV;
	if (r == 0) {
		creds_assume(req, m, true);
		request_changes(req, m);
		r = link_from(m, &old, p.fd, name);
		if (r == -EEXIST && request_resent(req))
			r = 0;
	}
	if (r == 0)
		files_forget_node(&m->view->files, old.index); /* it has a name (again) */
	entry_reply(req, m, node, r, name, p.fd);
}
