/*
 * Asks a program whether it could take over from this one, before it is too late: runs it with
 * HANDOVER_OPTION (handover.h) in a child with a deadline.
 */
#pragma once

#include "base/loop.h"

struct trial;

/* err: 0, or -errno; text: the version that answered, or a line that says why not. */
typedef void (*trial_done_fn)(int err, const char *text, void *data);

/*
 * argv: of this process, with a NULL at its end, borrowed; record_fd: borrowed. done is called once
 * from the loop, never from within this call. Returns 0 or -errno.
 */
int trial_start(struct loop *loop, const char *program, const char *const *argv, int record_fd,
		trial_done_fn done, void *data, struct trial **ret_trial);
/* done is not called any more, the child is killed. Accepts NULL, returns NULL. */
struct trial *trial_cancel(struct trial *trial);
