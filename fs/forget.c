/* The kernel forgets nodes: single, and in batches. */
#include "ops.h"

/* Of a deleted file, whose blocks may be freed now: behind the gate, since that waits for the disk.
 */
static void forget_deleted(struct view *view, const struct node_info *node, uint64_t nodeid,
			   uint64_t count)
{
	struct {
		struct fuse_in_header head;
		struct fuse_forget_in in;
	} message = {
		.head = {.len = sizeof(message), .opcode = FUSE_FORGET, .nodeid = nodeid},
		.in = {.nlookup = count},
	};
	struct request req = {
		.view = view,
		.head = &message.head,
		.body = (const char *)&message.in,
		.body_size = sizeof(message.in),
		.answered = true, /* nobody waits for a reply */
		.passive = true,
	};
	struct medium *m = medium_get(view, node->key.slot);

	list_init(&req.link);
	if (!m)
		op_forget_deleted(&req, NULL, node);
	else if (gate_enter(m, &req, false) == GATE_GO)
		view_run(&req);
	medium_putp(&m);
}

void op_forget(struct view *view, uint64_t nodeid, uint64_t count)
{
	struct node_info node;

	if (nodes_get(&view->nodes, nodeid, &node) < 0)
		return;
	if (node.flags & NODE_NAMELESS)
		forget_deleted(view, &node, nodeid, count);
	else
		(void)nodes_forget(&view->nodes, nodeid, count);
}

void op_forget_deleted(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_forget_in *in = REQUEST_BODY(req, struct fuse_forget_in);
	struct view *view = req->view;

	(void)m;
	/* pinned, so that its place is not another node's before its remains are gone */
	nodes_pin(&view->nodes, node->index);
	if (in && nodes_forget(&view->nodes, req->head->nodeid, in->nlookup))
		files_forget_node(&view->files, node->index);
	nodes_unpin(&view->nodes, node->index);
}
