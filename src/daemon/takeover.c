/*
 * A program goes on where another one was, in the same process: see upgrade.c for what that one
 * did. Nothing is changed before takeover_commit(): until then the other one can be executed again
 * (handover_return()).
 */
#include <fcntl.h>

#include "base/environment.h"
#include "base/log.h"
#include "context.h"
#include "daemon/handover.h"
#include "daemon/record.h"
#include "device/names_store.h"

/* ---- parts of the record ---- */

#define JOB(kind, member)  RECORD_FIELD(struct staging_left_job, RECORD_##kind, #member, member)
#define NAME(kind, member) RECORD_FIELD(struct name_record, RECORD_##kind, #member, member)

static const struct record_field job_fields[] = {
	JOB(NUMBER, id),    JOB(NUMBER, work),	JOB(NUMBER, sock),
	JOB(NUMBER, pidfd), JOB(BOOL, expired),
};

static const struct record_field name_fields[] = {
	NAME(TEXT, base),
	NAME(TEXT, name),
	NAME(TEXT, identity),
};

int takeover_job_pack(const struct staging_left_job *job, struct json_object *into)
{
	return record_pack(job_fields, ARRAY_SIZE(job_fields), job, into);
}

int takeover_name_pack(const struct name_record *record, struct json_object *into)
{
	return record_pack(name_fields, ARRAY_SIZE(name_fields), record, into);
}

/* ---- before the commit ---- */

static int open_check(const struct handover *h)
{
	for (size_t i = 0; i < json_object_array_length(h->fds); i++)
		if (fcntl(json_object_get_int(json_object_array_get_idx(h->fds, i)), F_GETFD) < 0)
			return -EBADF;
	return 0;
}

int takeover_begin(struct broker *b)
{
	int fd = environment_number(HANDOVER_VARIABLE);
	char error[256] = "";
	int r;

	if (!getenv(HANDOVER_VARIABLE))
		return restart_begin(b);
	r = fd <= STDERR_FILENO ? -EINVAL : handover_read(fd, &b->handover, error, sizeof(error));
	if (r == 0)
		r = open_check(b->handover);
	if (r < 0) {
		log_err("cannot take over from the program that was here: %s",
			*error ? error : strerror(-r));
		return r;
	}
	b->record_fd = fd;
	b->passthrough = b->handover->passthrough;
	b->sequence = b->handover->sequence;
	free(b->program);
	b->program = strdup(b->handover->program);
	b->mountpoint = strdup(b->handover->mountpoint);
	return b->program && b->mountpoint ? 0 : -ENOMEM;
}

int takeover_workload(struct broker *b)
{
	const struct handover *h = b->handover;
	const struct workload_left left = {.pid = h->workload_pid,
					   .state = (enum workload_state)h->workload_state,
					   .place = h->workload_place};
	int r = guard_take(b->loop, h->guard_pid, &b->guard);

	return r < 0 ? r : workload_take(b->workload, &left);
}

int takeover_control(struct broker *b)
{
	if (json_object_object_length(b->handover->control) == 0)
		return 0; /* COMMAND does without it */
	return control_take(b->loop, b->handover->control, commands_request, b, &b->control);
}

static int read_jobs(const struct handover *h, struct staging_left *left)
{
	const char *name;
	int r = 0;

	left->job_count = json_object_array_length(h->jobs);
	left->jobs = calloc(left->job_count + 1, sizeof(*left->jobs));
	if (!left->jobs)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < left->job_count; i++)
		r = record_unpack(job_fields, ARRAY_SIZE(job_fields),
				  json_object_array_get_idx(h->jobs, i), &left->jobs[i], &name);
	return r;
}

int takeover_staging(struct broker *b)
{
	const struct handover *h = b->handover;
	const struct staging_args args = broker_staging_args(b);
	struct staging_left left = {.keeper_fd = h->keeper_fd, .keeper_pid = h->keeper_pid};
	int r;

	if (b->stored)
		return staging_join(b->loop, &args, h->namespace_fd, &b->staging);
	r = read_jobs(h, &left);
	if (r == 0)
		r = staging_take(b->loop, &args, &left, &b->staging);
	free(left.jobs);
	return r;
}

int takeover_server(struct broker *b, const struct supervisor_args *args,
		    const struct supervisor_events *events)
{
	const struct handover *h = b->handover;
	const struct supervisor_left left = {.fuse_fd = h->fuse_fd,
					     .nodes_fd = h->nodes_fd,
					     .files_fd = h->files_fd,
					     .link_fd = h->link_fd,
					     .pid = h->server_pid};

	return supervisor_take(b->loop, args, events, &left, &b->server);
}

static int take_medium(struct broker *b, struct json_object *object)
{
	struct json_object *id = json_object_object_get(object, "id");
	struct medium *m;
	char error[128];
	int r = registry_restore(&b->registry, (uint32_t)json_object_get_int64(id), &m);

	if (r == 0)
		r = handover_take_medium(object, m, error, sizeof(error));
	if (r < 0)
		return r;
	m->broker = b;
	if (b->stored && m->view == MEDIUM_VISIBLE &&
	    (m->state == MEDIUM_IDLE || m->state == MEDIUM_FAILED))
		m->state = MEDIUM_MOUNTING; /* until restart_find() knows it better */
	return *m->name ? names_hold(b->names, m->base, medium_identity(m).text, m->name) : 0;
}

static int take_name(struct broker *b, struct json_object *object)
{
	struct name_record *record = calloc(1, sizeof(*record));
	const char *name;
	int r = record ? record_unpack(name_fields, ARRAY_SIZE(name_fields), object, record, &name)
		       : -ENOMEM;

	if (r == 0)
		r = names_remember(b->names, record->base, record->identity, record->name);
	free(record);
	return r;
}

int takeover_media(struct broker *b)
{
	const struct handover *h = b->handover;
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_object_array_length(h->names); i++)
		r = take_name(b, json_object_array_get_idx(h->names, i));
	for (size_t i = 0; r == 0 && i < json_object_array_length(h->media); i++)
		r = take_medium(b, json_object_array_get_idx(h->media, i));
	b->registry.last = MIN(h->last_id, (uint32_t)LIMIT_MEDIA);
	return r;
}

/* ---- after it ---- */

void takeover_commit(struct broker *b)
{
	int r = loop_adopt_strangers(b->loop);

	if (r < 0)
		log_warning("cannot look for the children of the program that was here: %s",
			    strerror(-r));
	if (!b->stored)
		b->takeover = getenv(HANDOVER_RETURNED) ? TAKEOVER_RETURNED : TAKEOVER_DONE;
	log_info("hotplugfs " HOTPLUGFS_VERSION " goes on where %s was",
		 QUOTE(b->handover->version));
	(void)handover_set_cloexec(b->handover, true);
	close_fd(b->handover->namespace_fd);
	close_fd(b->handover->program_fd);
	b->record_fd = close_fd(b->record_fd);
	b->handover = handover_free(b->handover);
	(void)unsetenv(HANDOVER_VARIABLE);
	(void)unsetenv(HANDOVER_RETURNED);
	b->resend = true; /* else there would be nothing that goes on */
	if (b->stored)
		restart_find(b);
	else
		b->phase = BROKER_SERVING;
}

void takeover_ready(struct broker *b)
{
	if (b->takeover == TAKEOVER_DONE)
		commands_upgrade_done(b, 0, NULL);
	else if (b->takeover == TAKEOVER_RETURNED)
		commands_upgrade_done(b, -ENOEXEC,
				      "the program that is installed now could not take over, as "
				      "the log says");
	b->takeover = TAKEOVER_NONE;
}
