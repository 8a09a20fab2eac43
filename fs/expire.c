/*
 * An O_TRUNC has taken set-id bits away. The kernel does not expect that (fuse_finish_open), and
 * reads the mode that it knows without asking (safe_hardlink_source): it learns the new one when it
 * looks the file's names up again. To make it do so takes the lock of their directory
 * (fuse_reverse_inval_entry() in fs/fuse/dir.c), whose holder waits for an answer to his CREATE,
 * maybe for room in the gate. So the OPEN leaves the gate first, and is answered here afterwards,
 * by a thread of its medium that answers nothing else; an open() holds no lock that others could
 * wait for.
 */
#include "ops.h"

#include "creds.h"

struct late_open {
	struct list link; /* medium->expiring */
	struct fuse_in_header head;
	struct wire_open_out out;
	struct file *file; /* a reference, which keeps the node, too */
};

#define EXPIRE_MAX 256 /* names of one file: each is found by counting */

static void names_expire(struct medium *m, uint32_t node)
{
	char name[LIMIT_FILE_NAME + 1];
	uint32_t parent;
	uint8_t flags;

	for (unsigned i = 0;
	     i < EXPIRE_MAX && nodes_name(&m->view->nodes, node, i, &parent, name) == 0; i++)
		(void)channel_notify_entry(&m->view->channel,
					   nodes_id(&m->view->nodes, parent, &flags), name);
}

/* The next one, or NULL: then whoever adds one has to start a thread for it. */
static struct late_open *take(struct medium *m)
{
	struct late_open *late = NULL;

	pthread_mutex_lock(&m->lock);
	if (list_empty(&m->expiring)) {
		m->expires = false;
	} else {
		late = CONTAINER_OF(m->expiring.next, struct late_open, link);
		list_remove(&late->link);
	}
	pthread_mutex_unlock(&m->lock);
	return late;
}

static void answer_all(struct medium *m, bool expire)
{
	struct late_open *late;

	while ((late = take(m))) {
		struct request req = {.view = m->view, .head = &late->head};

		if (expire)
			names_expire(m, late->file->node);
		(void)file_reply(&req, late->file, &late->out, sizeof(late->out));
		file_put(&m->view->files, late->file);
		free(late);
	}
}

static void *expire_thread(void *data)
{
	struct medium *m = data;

	(void)creds_thread_start();
	answer_all(m, true);
	medium_put(m);
	return NULL;
}

static int thread_start(struct medium *m)
{
	pthread_t thread;
	int r;

	medium_ref(m);
	follow_leave_caller();
	r = -pthread_create(&thread, NULL, expire_thread, m);
	if (r == 0)
		(void)pthread_detach(thread);
	else
		medium_put(m);
	return r;
}

int expire_and_reply(struct request *req, struct medium *m, struct file *file,
		     const struct wire_open_out *out)
{
	struct late_open *late = malloc(sizeof(*late));
	bool start;

	if (!late)
		return -ENOMEM;
	if (!request_claim(req)) {
		free(late);
		return -ECANCELED;
	}
	*late = (struct late_open){.head = *req->head, .out = *out, .file = file};
	pthread_mutex_lock(&m->lock);
	list_append(&m->expiring, &late->link);
	start = !m->expires;
	m->expires = true;
	pthread_mutex_unlock(&m->lock);
	if (start && thread_start(m) < 0)
		answer_all(m, false);
	return 0;
}
