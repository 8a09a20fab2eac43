/* Names that move: rename, with all its flags. */
#include "ops.h"

#include <fcntl.h>
#include <stdio.h>

#include "creds.h"
#include "victim.h"

struct renaming {
	const struct node_info *from_dir;
	const struct node_info *to_dir;
	const char *from;
	const char *to;
	unsigned flags;
};

static int rename_nodes(struct medium *m, const struct renaming *rn, struct victim *v)
{
	struct nodes *nodes = &m->view->nodes;

	if (rn->flags & RENAME_EXCHANGE)
		return nodes_exchange(nodes, rn->from_dir->index, rn->from, rn->to_dir->index,
				      rn->to);
	if (v->known)
		victim_bury(m, rn->to_dir, rn->to, v);
	return nodes_rename(nodes, rn->from_dir->index, rn->from, rn->to_dir->index, rn->to);
}

/* Two names of one file: rename(2) then does nothing, and both stay. */
static bool same_file(int from_fd, const struct renaming *rn, const struct victim *v)
{
	struct stat st;

	return v->known && !(rn->flags & RENAME_EXCHANGE) &&
	       fstatat(from_fd, rn->from, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_dev == v->st.st_dev && st.st_ino == v->st.st_ino;
}

/* Whether paths through the moved thing change: only those through a directory. */
static bool dir_moves(struct medium *m, const struct renaming *rn, const struct victim *v)
{
	struct node_info node;

	if (nodes_find_name(&m->view->nodes, rn->from_dir->index, rn->from, &node) < 0)
		return true;
	return S_ISDIR(node.type) || (v->known && S_ISDIR(v->st.st_mode));
}

/*
 * A listing that the kernel keeps of a directory has its old parent's number at "..". Its pages are
 * locked only by who reads the directory, and nobody does while the kernel holds its lock for the
 * rename (vfs_rename() in fs/namei.c): so this may be done behind the gate.
 */
static void listing_drop(struct medium *m, const struct node_info *dir, const char *name)
{
	struct node_info node;
	uint8_t flags;

	if (nodes_find_name(&m->view->nodes, dir->index, name, &node) == 0 && S_ISDIR(node.type))
		(void)channel_notify_data(&m->view->channel,
					  nodes_id(&m->view->nodes, node.index, &flags), 0, 0);
}

static void parent_changed(struct medium *m, const struct renaming *rn)
{
	if (rn->from_dir->index == rn->to_dir->index)
		return;
	listing_drop(m, rn->to_dir, rn->to);
	if (rn->flags & RENAME_EXCHANGE)
		listing_drop(m, rn->from_dir, rn->from);
}

/* One that leaves something under the old name would, if it is sent again, move that. */
static bool repeats_harm(const struct renaming *rn)
{
	return rn->flags & (RENAME_EXCHANGE | RENAME_WHITEOUT);
}

/* Notes what is about to be renamed. NULL when it need not be, or when the notes are full. */
static struct store_intent *intent_note(struct request *req, const struct renaming *rn, int from_fd)
{
	struct store_intent *intents = req->view->store.header->intents;
	uint64_t unique = request_unique(req);
	struct stat st;

	if (!repeats_harm(rn) || fstatat(from_fd, rn->from, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return NULL;
	for (size_t i = 0; i < STORE_INTENTS; i++) {
		uint64_t none = 0;

		if (__atomic_compare_exchange_n(&intents[i].unique, &none, unique, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			intents[i].ino = st.st_ino;
			return &intents[i];
		}
	}
	return NULL;
}

static void intent_done(struct store_intent *intent)
{
	if (!intent)
		return;
	intent->ino = 0; /* the next one's is not known before it is written */
	__atomic_store_n(&intent->unique, 0, __ATOMIC_RELEASE);
}

/*
 * A request that is sent again: whether the server that died had renamed already. It then may or
 * may not have got to the node table.
 */
static bool renamed_before(struct request *req, const struct renaming *rn, int from_fd, int to_fd,
			   struct store_intent **ret_intent)
{
	struct store_intent *intents = req->view->store.header->intents;
	bool before = false;
	struct stat st;

	if (!request_resent(req))
		return false;
	if (!repeats_harm(rn))
		return faccessat(from_fd, rn->from, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
		       faccessat(to_fd, rn->to, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	for (size_t i = 0; i < STORE_INTENTS; i++) {
		if (intents[i].unique != request_unique(req))
			continue;
		before = intents[i].ino &&
			 fstatat(from_fd, rn->from, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			 st.st_ino != intents[i].ino;
		if (intents[i].ino) /* this server may die before it answers, too */
			*ret_intent = &intents[i];
		else
			intent_done(&intents[i]);
	}
	return before;
}

/* Brings the node table to where the disk is; it may be there. */
static int renamed_note(struct medium *m, const struct renaming *rn, int from_fd)
{
	struct victim none = {.fd = -EBADF};
	struct node_info node;
	struct stat st;

	if (nodes_find_name(&m->view->nodes, rn->from_dir->index, rn->from, &node) < 0)
		return 0;
	if (repeats_harm(rn) && fstatat(from_fd, rn->from, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_ino == node.key.ino)
		return 0;
	(void)rename_nodes(m, rn, &none);
	parent_changed(m, rn);
	return 0;
}

/* ret_intent: to be done with once the request has been answered, or NULL. */
static int rename_in(struct request *req, struct medium *m, const struct renaming *rn,
		     struct store_intent **ret_intent)
{
	_cleanup_place_ struct place from = PLACE_NONE;
	_cleanup_place_ struct place to = PLACE_NONE;
	_cleanup_(victim_done) struct victim v = {.fd = -EBADF};
	bool moves_dir;
	int r = resolve_dir(m, rn->from_dir, &from);

	if (r == 0)
		r = resolve_dir(m, rn->to_dir, &to);
	if (r < 0)
		return r;
	creds_assume(req, m, true);
	request_changes(req, m);
	if (renamed_before(req, rn, from.fd, to.fd, ret_intent))
		return renamed_note(m, rn, from.fd);
	victim_catch(m, rn->to_dir, to.fd, rn->to, !(rn->flags & RENAME_EXCHANGE), &v);
	if (same_file(from.fd, rn, &v)) {
		victim_spare(m, &v);
		return 0;
	}
	moves_dir = dir_moves(m, rn, &v);
	medium_rename_begin(m, moves_dir);
	if (!*ret_intent)
		*ret_intent = intent_note(req, rn, from.fd);
	r = renameat2(from.fd, rn->from, to.fd, rn->to, rn->flags) < 0 ? -errno : 0;
	if (r == 0) { /* a name that cannot be kept is found again by the next lookup */
		(void)rename_nodes(m, rn, &v);
		parent_changed(m, rn);
	} else {
		victim_spare(m, &v);
	}
	medium_rename_end(m, moves_dir);
	return r;
}

static void rename_common(struct request *req, struct medium *m, const struct node_info *node,
			  uint64_t new_dir, unsigned flags, size_t names_at)
{
	struct store_intent *intent = NULL;
	struct node_info to_dir;
	const char *from;
	const char *to;
	int r = request_name(req, names_at, &from);

	if (r == 0)
		r = request_name(req, names_at + strlen(from) + 1, &to);
	if (r == 0 && new_dir == NODE_ID_ROOT)
		r = -EXDEV;
	if (r == 0)
		r = nodes_get(&m->view->nodes, new_dir, &to_dir);
	if (r == 0 && to_dir.key.slot != m->slot)
		r = -EXDEV;
	if (r == 0) {
		const struct renaming rn = {.from_dir = node,
					    .to_dir = &to_dir,
					    .from = from,
					    .to = to,
					    .flags = flags};

		r = rename_in(req, m, &rn, &intent);
	}
	(void)reply_error(req, r);
	intent_done(intent);
}

void op_rename(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_rename_in *in = REQUEST_BODY(req, struct fuse_rename_in);

	if (!in)
		(void)reply_error(req, -EINVAL);
	else
		rename_common(req, m, node, in->newdir, 0, sizeof(*in));
}

void op_rename2(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_rename2_in *in = REQUEST_BODY(req, struct fuse_rename2_in);

	if (!in)
		(void)reply_error(req, -EINVAL);
	else
		rename_common(req, m, node, in->newdir, in->flags, sizeof(*in));
}
