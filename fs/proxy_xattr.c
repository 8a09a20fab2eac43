/* Extended attributes and ACLs, which are extended attributes to us. */
#include "ops.h"

#include <linux/capability.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <sys/xattr.h>

#include "access.h"
#include "creds.h"

#ifndef FUSE_SETXATTR_ACL_KILL_SGID
#define FUSE_SETXATTR_ACL_KILL_SGID (1 << 0)
#endif

#define XATTR_MAX 65536 /* XATTR_SIZE_MAX and XATTR_LIST_MAX of <linux/limits.h> */

/*
 * "/proc/self/fd/N/name": the l*xattr() calls have no *at() form before Linux 6.13. A deleted
 * file is reached through its own fd, which the path then follows.
 */
struct xattr_place {
	struct place place;
	char path[LIMIT_FILE_NAME + 40];
	bool follow;
};

static void xattr_place_done(struct xattr_place *xp)
{
	place_done(&xp->place);
}
#define _cleanup_xattr_place_ _cleanup_(xattr_place_done)
#define XATTR_PLACE_NONE            \
	{                           \
		.place = PLACE_NONE \
	}

/* Fills in what leads to the place. */
static void xattr_path(const struct place *p, struct xattr_place *xp)
{
	xp->follow = !*p->name;
	(void)snprintf(xp->path, sizeof(xp->path), "/proc/self/fd/%d%s%s", p->fd,
		       xp->follow ? "" : "/", p->name);
}

static int xattr_resolve(struct medium *m, const struct node_info *node, struct xattr_place *xp)
{
	int r = resolve(m, node, &xp->place);

	if (r == 0)
		xattr_path(&xp->place, xp);
	return r;
}

/* Where a value or a list is read to; nothing: only its size is. */
struct xattr_buffer {
	const char *name;
	char *data;
	size_t size;
};

static int read_value(const struct place *p, void *data)
{
	const struct xattr_buffer *buf = data;
	struct xattr_place xp;
	ssize_t n;

	xattr_path(p, &xp);
	n = xp.follow ? getxattr(xp.path, buf->name, buf->data, buf->size)
		      : lgetxattr(xp.path, buf->name, buf->data, buf->size);
	return n < 0 ? -errno : (int)n;
}

static int read_list(const struct place *p, void *data)
{
	const struct xattr_buffer *buf = data;
	struct xattr_place xp;
	ssize_t n;

	xattr_path(p, &xp);
	n = xp.follow ? listxattr(xp.path, buf->data, buf->size)
		      : llistxattr(xp.path, buf->data, buf->size);
	return n < 0 ? -errno : (int)n;
}

/* Answers with a value or a list of n bytes, or only its size, as the caller asked. */
static void reply_sized(struct request *req, const char *value, ssize_t n, uint32_t size)
{
	struct fuse_getxattr_out out = {.size = (uint32_t)MAX(n, 0)};

	if (n < 0)
		(void)reply_error(req, (int)n);
	else if (size == 0)
		(void)reply_data(req, &out, sizeof(out));
	else if ((size_t)n > size)
		(void)reply_error(req, -ERANGE);
	else
		(void)reply_data(req, value, (size_t)n);
}

static bool is_acl(const char *name)
{
	return streq(name, "system.posix_acl_access") || streq(name, "system.posix_acl_default");
}

static bool is_capability(const char *name)
{
	return streq(name, "security.capability");
}

/*
 * Before a write takes capabilities away the kernel asks for their size
 * (security/commoncap.c, cap_inode_need_killpriv); a thread that reads them is a program's.
 */
static void capability_asked(const struct request *req, struct medium *m,
			     const struct node_info *node, uint32_t size)
{
	if (size == 0)
		nodes_cap_ask(&m->view->nodes, node->index, req->head->pid);
	else
		nodes_cap_read(&m->view->nodes, node->index, req->head->pid);
}

void op_getxattr(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_getxattr_in *in = REQUEST_BODY(req, struct fuse_getxattr_in);
	const char *name = request_text(req, sizeof(*in));
	size_t size = in ? MIN(in->size, (uint32_t)XATTR_MAX) : 0;
	_cleanup_free_ char *value = NULL;
	ssize_t n = in && name ? 0 : -EINVAL;

	if (n == 0 && node->flags & NODE_MEDIUM_ROOT && root_medium_xattr(req, m, name, in->size))
		return;
	if (n == 0 && size > 0) {
		value = malloc(size);
		if (!value)
			n = -ENOMEM;
	}
	if (n == 0) {
		struct xattr_buffer buf = {.name = name, .data = value, .size = size};

		n = resolve_read(m, node, read_value, &buf);
	}
	if (n > 0 && is_capability(name))
		capability_asked(req, m, node, in->size);
	/* ls(1) asks every file for its label, unless it is told that this filesystem has none */
	if (n == -ENODATA && streq(name, "security.selinux"))
		n = -EOPNOTSUPP;
	/* any other error than "has none" would make the kernel refuse access (fuse_get_acl) */
	if (n == -EOPNOTSUPP && is_acl(name))
		n = -ENODATA;
	reply_sized(req, value, n, in ? in->size : 0);
}

static bool has_trusted(const char *list, ssize_t size)
{
	for (const char *name = list; name < list + size; name += strlen(name) + 1)
		if (strncmp(name, XATTR_TRUSTED_PREFIX, XATTR_TRUSTED_PREFIX_LEN) == 0)
			return true;
	return false;
}

/* Some filesystems list trusted attributes for the privileged only (xattr(7)). */
static ssize_t list_for(struct medium *m, const struct node_info *node, bool admin,
			struct xattr_buffer *buf)
{
	ssize_t n;

	if (!admin)
		creds_set_admin(false);
	n = resolve_read(m, node, read_list, buf);
	if (!admin)
		creds_set_admin(true);
	return n;
}

void op_listxattr(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_getxattr_in *in = REQUEST_BODY(req, struct fuse_getxattr_in);
	_cleanup_free_ char *list = malloc(XATTR_MAX);
	struct xattr_buffer buf = {.data = list, .size = XATTR_MAX};
	ssize_t n = in ? 0 : -EINVAL;

	if (n == 0 && !list)
		n = -ENOMEM;
	if (n == 0)
		n = list_for(m, node, req->head->uid == 0, &buf);
	if (n > 0 && req->head->uid == 0 && has_trusted(list, n) &&
	    !access_root_has(req, CAP_SYS_ADMIN))
		n = list_for(m, node, false, &buf);
	reply_sized(req, list, n, in ? in->size : 0);
}

void op_setxattr(struct request *req, struct medium *m, const struct node_info *node)
{
	size_t size = request_setxattr_size(req);
	const struct fuse_setxattr_in *in = request_body(req, size);
	const char *name = in ? request_text(req, size) : NULL;
	size_t value_at = name ? size + strlen(name) + 1 : 0;
	bool kills_sgid = name && size == sizeof(*in) &&
			  in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
	_cleanup_xattr_place_ struct xattr_place xp = XATTR_PLACE_NONE;
	const char *value = req->body + value_at;
	int r = name ? xattr_resolve(m, node, &xp) : -EINVAL;

	if (r == 0 && req->body_size - value_at < in->size)
		r = -EINVAL;
	if (r == 0) {
		creds_assume(req, m, !kills_sgid);
		request_changes(req, m);
		r = xp.follow ? setxattr(xp.path, name, value, in->size, (int)in->flags)
			      : lsetxattr(xp.path, name, value, in->size, (int)in->flags);
		if (r < 0)
			r = -errno;
		if (r == -EEXIST && request_resent(req)) /* it was made before */
			r = 0;
		if (node->flags & NODE_MEDIUM_ROOT)
			root_medium_changed(m);
	}
	(void)reply_error(req, r);
}

/*
 * A write takes a file's capabilities away, on an append-only file, too: it does so itself. The
 * kernel has the inode locked from its question until now, so that a removexattr(2) of somebody
 * else does not come between; one whose thread asked for the size before is taken for a write.
 */
static int capability_removed(const struct request *req, struct medium *m,
			      const struct node_info *node, int r)
{
	bool asked = nodes_cap_take(&m->view->nodes, node->index, req->head->pid);

	if (!(asked || request_resent(req)) || !files_node_written(&m->view->files, node->index))
		return r;
	nodes_set_flags(&m->view->nodes, node->index, NODE_CAP_REMOVED, 0);
	return r == -EPERM ? 0 : r;
}

void op_removexattr(struct request *req, struct medium *m, const struct node_info *node)
{
	const char *name = request_text(req, 0);
	_cleanup_xattr_place_ struct xattr_place xp = XATTR_PLACE_NONE;
	int r = name ? xattr_resolve(m, node, &xp) : -EINVAL;

	if (r == 0) {
		creds_assume(req, m, true);
		request_changes(req, m);
		r = xp.follow ? removexattr(xp.path, name) : lremovexattr(xp.path, name);
		if (r < 0)
			r = -errno;
		if (r == -ENODATA && request_resent(req)) /* it went before */
			r = 0;
		if (is_capability(name))
			r = capability_removed(req, m, node, r);
		if (node->flags & NODE_MEDIUM_ROOT)
			root_medium_changed(m);
	}
	(void)reply_error(req, r);
}
