/* From a message of the kernel to its handler, through the gate of its medium. */
#include "ops.h"

#include "access.h"
#include "base/log.h"

struct op {
	op_fn fn;
	bool opens; /* opens something: refused while the medium is being ejected */
	bool waits; /* for the device, whatever the caches know */
};

#define OP_MAX 64

static const struct op ops[OP_MAX] = {
	[FUSE_LOOKUP] = {op_lookup, false, false},
	[FUSE_GETATTR] = {op_getattr, false, false},
	[FUSE_SETATTR] = {op_setattr, false, false},
	[FUSE_READLINK] = {op_readlink, false, false},
	[FUSE_SYMLINK] = {op_symlink, true, false},
	[FUSE_MKNOD] = {op_mknod, true, false},
	[FUSE_MKDIR] = {op_mkdir, true, false},
	[FUSE_UNLINK] = {op_unlink, false, false},
	[FUSE_RMDIR] = {op_rmdir, false, false},
	[FUSE_RENAME] = {op_rename, false, false},
	[FUSE_RENAME2] = {op_rename2, false, false},
	[FUSE_LINK] = {op_link, true, false},
	[FUSE_OPEN] = {op_open, true, false},
	[FUSE_CREATE] = {op_create, true, false},
	[FUSE_TMPFILE] = {op_tmpfile, true, false},
	[FUSE_READ] = {op_read, false, false},
	[FUSE_WRITE] = {op_write, false, false},
	[FUSE_RELEASE] = {op_release, false, false},
	[FUSE_FORGET] = {op_forget_deleted, false, false},
	[FUSE_FLUSH] = {op_flush, false, false},
	[FUSE_FSYNC] = {op_fsync, false, true},
	[FUSE_OPENDIR] = {op_opendir, true, false},
	[FUSE_READDIR] = {op_readdir, false, false},
	[FUSE_READDIRPLUS] = {op_readdirplus, false, false},
	[FUSE_RELEASEDIR] = {op_release, false, false},
	[FUSE_FSYNCDIR] = {op_fsync, false, true},
	[FUSE_STATFS] = {op_statfs, false, false},
	[FUSE_GETXATTR] = {op_getxattr, false, false},
	[FUSE_SETXATTR] = {op_setxattr, false, false},
	[FUSE_LISTXATTR] = {op_listxattr, false, false},
	[FUSE_REMOVEXATTR] = {op_removexattr, false, false},
	[FUSE_FALLOCATE] = {op_fallocate, false, true},
	[FUSE_LSEEK] = {op_lseek, false, false},
	[FUSE_COPY_FILE_RANGE] = {op_copy_file_range, false, true},
	[FUSE_IOCTL] = {op_ioctl, false, false},
	[WIRE_STATX] = {op_statx, false, false},
};

static const struct op *op_find(uint32_t opcode)
{
	return opcode < OP_MAX && ops[opcode].fn ? &ops[opcode] : NULL;
}

static bool changes_names(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_CREATE:
	case FUSE_TMPFILE:
	case FUSE_MKDIR:
	case FUSE_MKNOD:
	case FUSE_SYMLINK:
	case FUSE_LINK:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
		return true;
	default:
		return false;
	}
}

/* Of the namespaces of xattr(7) only this one is a matter of the mode. */
static int access_to_xattr(const struct request *req, size_t name_at, int mask)
{
	const char *name = request_text(req, name_at);

	return name && strncmp(name, "user.", 5) == 0 ? mask : 0;
}

/* To set the times to now takes a right to write; all else is for the owner, who is root. */
static int access_to_set(const struct request *req)
{
	const struct fuse_setattr_in *in = REQUEST_BODY(req, struct fuse_setattr_in);

	return in && in->valid & (FATTR_ATIME_NOW | FATTR_MTIME_NOW) ? W_OK : 0;
}

/* What a request needs of the directory that it names, as for access(2). */
static int access_needed(const struct request *req)
{
	if (changes_names(req->head->opcode))
		return W_OK | X_OK;
	switch (req->head->opcode) {
	case FUSE_LOOKUP:
		return X_OK;
	case FUSE_OPENDIR:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return R_OK;
	case FUSE_SETATTR:
		return access_to_set(req);
	case FUSE_GETXATTR:
		return access_to_xattr(req, sizeof(struct fuse_getxattr_in), R_OK);
	case FUSE_SETXATTR:
		return access_to_xattr(req, request_setxattr_size(req), W_OK);
	case FUSE_REMOVEXATTR:
		return access_to_xattr(req, 0, W_OK);
	default:
		return 0;
	}
}

/*
 * The kernel let callers into a medium's directory by attributes that were made up, as long as
 * the medium had not been mounted: those calls are checked here. Returns true when refused. What
 * was opened then is checked when it is read (proxy_dir.c).
 */
static bool access_refused(struct request *req, const struct node_info *node)
{
	int mask;

	if (!req->made_up || !(node->flags & NODE_MEDIUM_ROOT))
		return false;
	mask = access_needed(req);
	if (mask == 0 || access_check(req, req->medium->root_fd, mask) == 0)
		return false;
	(void)reply_error(req, -EACCES);
	return true;
}

static void run(struct request *req, const struct op *op, const struct node_info *node)
{
	struct medium *m = req->medium;
	bool names = changes_names(req->head->opcode);

	if (names)
		atomic_fetch_add(&m->names_begun, 1);
	op->fn(req, m, node);
	if (names)
		atomic_fetch_add(&m->names_ended, 1);
	if (req->changes) /* it may have taken so long that the disk was synced meanwhile */
		medium_written(m);
}

static void handle(struct request *req)
{
	const struct op *op = op_find(req->head->opcode);
	struct node_info node;
	int r = nodes_get(&req->view->nodes, req->head->nodeid, &node);

	if (r < 0 && op->fn == op_release) { /* works without its node */
		op->fn(req, req->medium, &node);
		return;
	}
	if (r < 0)
		(void)reply_error(req, r);
	else if (!access_refused(req, &node))
		run(req, op, &node);
}

/* The end of a request behind the gate; returns the next one there, or NULL. */
static struct request *finish(struct medium *m, struct request *req)
{
	struct request *next = gate_leave(m, req);

	if (req->allocated) {
		free(req);
		/* the queue's reference; the next one still has its own */
		medium_put(m);
	}
	return next;
}

void view_run(struct request *req)
{
	struct medium *m = req->medium;

	while (req) {
		handle(req);
		/* the kernel would wait for ever, with the page or the directory locked */
		if (reply_error(req, -EIO) == 0)
			log_err("request %u was not answered by its handler", req->head->opcode);
		req = finish(m, req);
	}
}

bool view_may_refuse(const struct request *req)
{
	switch (req->head->opcode) {
	case FUSE_WRITE:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FORGET:
		return false;
	default:
		return true;
	}
}

struct request *view_refuse(struct request *req, int err)
{
	(void)reply_error(req, err);
	return finish(req->medium, req);
}

/*
 * Of a medium that is gone: a name that was found a moment before, in which there are no others any
 * more, or files that were open in a server which died. The latter hold its filesystem until they
 * are closed.
 */
static void dispatch_orphan(struct request *req, const struct op *op)
{
	if (op->fn == op_release) {
		workers_yield(req->view);
		op_release(req, NULL, NULL);
	} else {
		(void)reply_error(req, op->fn == op_lookup ? -ENOENT : -ENODEV);
	}
}

/*
 * What a server that died had opened for the request, also if that is refused now: nobody else
 * would ever release it. Closing may wait for the device.
 */
static void undo_open(struct request *req)
{
	workers_yield(req->view);
	files_undo(&req->view->files, request_unique(req));
}

/* Behind the gate, unless it can be answered without the filesystem or has to wait. */
static void enter(struct request *req, struct medium *m, const struct node_info *node,
		  const struct op *op)
{
	if (node->flags & NODE_MEDIUM_ROOT) {
		if (root_medium_answer(req, m, node))
			return;
		req->made_up = root_medium_made_up(m);
	}
	if (gate_enter(m, req, op->opens) != GATE_GO)
		return;
	if (op->waits || request_moves_much(req->head))
		workers_yield(req->view);
	view_run(req);
}

static void dispatch_medium(struct request *req)
{
	const struct op *op = op_find(req->head->opcode);
	struct node_info node;
	struct medium *m;
	int r = nodes_get(&req->view->nodes, req->head->nodeid, &node);

	if (!op)
		r = -ENOSYS;
	if (r < 0) {
		(void)reply_error(req, r);
		return;
	}
	if (op->opens && request_resent(req))
		undo_open(req);
	m = medium_get(req->view, node.key.slot);
	if (!m) {
		dispatch_orphan(req, op);
		return;
	}
	enter(req, m, &node, op);
	medium_put(m);
}

static void forget_batch(const struct request *req)
{
	const struct fuse_batch_forget_in *in = REQUEST_BODY(req, struct fuse_batch_forget_in);
	const struct fuse_forget_one *one;

	if (!in || req->body_size - sizeof(*in) < in->count * sizeof(*one))
		return;
	one = (const struct fuse_forget_one *)(in + 1);
	for (uint32_t i = 0; i < in->count; i++)
		op_forget(req->view, one[i].nodeid, one[i].nlookup);
}

/* Messages that get no answer. Returns false when this is not one. */
static bool dispatch_silent(struct request *req)
{
	const struct fuse_forget_in *in;

	switch (req->head->opcode) {
	case FUSE_FORGET:
		in = REQUEST_BODY(req, struct fuse_forget_in);
		if (in && req->head->nodeid != NODE_ID_ROOT)
			op_forget(req->view, req->head->nodeid, in->nlookup);
		return true;
	case FUSE_BATCH_FORGET:
		forget_batch(req);
		return true;
	case FUSE_INTERRUPT: /* what runs cannot be interrupted; the fence ends what hangs */
		return true;
	default:
		return false;
	}
}

void view_dispatch(struct view *view, const char *buf, size_t size)
{
	const struct fuse_in_header *head = (const struct fuse_in_header *)buf;
	struct request req = {.view = view, .head = head};
	size_t extensions;

	if (size < sizeof(*head) || head->len != size)
		return;
	extensions = head->total_extlen * 8UL;
	if (extensions > size - sizeof(*head))
		return;
	req.body = buf + sizeof(*head);
	req.body_size = size - sizeof(*head) - extensions;
	list_init(&req.link);
	if (dispatch_silent(&req))
		return;
	if (head->opcode == FUSE_DESTROY)
		(void)reply_error(&req, 0);
	else if (head->nodeid == NODE_ID_ROOT)
		root_dispatch(&req);
	else
		dispatch_medium(&req);
}
