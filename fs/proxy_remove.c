/* Names that go: unlink, rmdir. */
#include "ops.h"

#include <fcntl.h>

#include "creds.h"
#include "victim.h"

static int remove_name(struct request *req, struct medium *m, const struct node_info *dir,
		       const char *name, int flags)
{
	_cleanup_place_ struct place p = PLACE_NONE;
	_cleanup_(victim_done) struct victim v = {.fd = -EBADF};
	int r = resolve_dir(m, dir, &p);

	if (r < 0)
		return r;
	creds_assume(req, m, true);
	victim_catch(m, dir, p.fd, name, true, &v);
	request_changes(req, m);
	if (unlinkat(p.fd, name, flags) < 0 && !(errno == ENOENT && request_resent(req))) {
		r = -errno;
		victim_spare(m, &v);
		return r;
	}
	victim_bury(m, dir, name, &v);
	return 0;
}

void op_unlink(struct request *req, struct medium *m, const struct node_info *node)
{
	const char *name;
	int r = request_name(req, 0, &name);

	(void)reply_error(req, r == 0 ? remove_name(req, m, node, name, 0) : r);
}

void op_rmdir(struct request *req, struct medium *m, const struct node_info *node)
{
	const char *name;
	int r = request_name(req, 0, &name);

	(void)reply_error(req, r == 0 ? remove_name(req, m, node, name, AT_REMOVEDIR) : r);
}
