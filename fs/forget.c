/* The kernel forgets nodes: single, and in batches. */
#include "ops.h"

void op_forget(struct view *view, uint64_t nodeid, uint64_t count)
{
	struct node_info node;

	if (nodes_get(&view->nodes, nodeid, &node) < 0)
		return;
	if (!(node.flags & NODE_NAMELESS)) {
		(void)nodes_forget(&view->nodes, nodeid, count);
		return;
	}
	/* pinned, so that its place is not another node's before its remains are gone */
	nodes_pin(&view->nodes, node.index);
	if (nodes_forget(&view->nodes, nodeid, count))
		files_forget_node(&view->files, node.index);
	nodes_unpin(&view->nodes, node.index);
}
