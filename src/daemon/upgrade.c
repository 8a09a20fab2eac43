/*
 * The program that is installed now takes the place of this one, in the same process:
 *
 *   tried      it says of a record as it would get it whether it could go on from it (trial.h)
 *   settling   mounts, unmounts and names that are on their way arrive; nothing is held up
 *   executed   the record is left in the environment's descriptor, the rest stays open (handover.h)
 *
 * Until the last step nothing changes, so whatever fails, this program goes on. The server runs
 * until the next program puts another one in its place, as after a crash (takeover.c).
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "base/process.h"
#include "context.h"
#include "daemon/handover.h"
#include "daemon/server.h"
#include "daemon/trial.h"
#include "device/names_store.h"

/* What is on its way arrives soon; a device that hangs is not waited for. */
#define SETTLE_DEADLINE_MS 20000
#define SETTLE_LOOK_MS	   5

struct upgrade {
	struct trial *trial; /* NULL: settling */
	struct loop_timer *timer;
	uint64_t deadline_ms;
};

static void upgrade_free(struct broker *b)
{
	struct upgrade *u = TAKE_PTR(b->upgrade);

	if (!u)
		return;
	trial_cancel(u->trial);
	loop_timer_remove(u->timer);
	free(u);
}

static _printf_(3, 4) void refuse(struct broker *b, int err, const char *fmt, ...)
{
	char why[1100];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	upgrade_free(b);
	log_warning("not upgraded: %s", why);
	commands_upgrade_done(b, err, why);
}

void upgrade_cancel(struct broker *b)
{
	if (b->upgrade)
		refuse(b, -ECANCELED, "the daemon ends");
}

/* ---- what is left to the next program ---- */

static int leave_fd(int fd, void *data)
{
	return handover_leave_fd(data, fd);
}

static int leave_server(const struct broker *b, struct handover *h)
{
	struct supervisor_left left;
	int r;

	supervisor_leave(b->server, &left);
	h->fuse_fd = left.fuse_fd;
	h->nodes_fd = left.nodes_fd;
	h->files_fd = left.files_fd;
	h->link_fd = left.link_fd;
	h->server_pid = left.pid;
	r = handover_leave_fd(h, h->fuse_fd);
	if (r == 0)
		r = handover_leave_fd(h, h->nodes_fd);
	if (r == 0)
		r = handover_leave_fd(h, h->files_fd);
	return r == 0 ? handover_leave_fd(h, h->link_fd) : r;
}

static int leave_job(struct handover *h, const struct staging_left_job *job)
{
	struct json_object *object = json_object_new_object();
	int r = takeover_job_pack(job, object);

	if (r == 0 && json_object_array_add(h->jobs, object) < 0)
		r = -ENOMEM;
	if (r < 0) {
		json_object_put(object);
		return r;
	}
	r = handover_leave_fd(h, job->sock);
	return r == 0 ? handover_leave_fd(h, job->pidfd) : r;
}

static int leave_staging(const struct broker *b, struct handover *h)
{
	struct staging_left left;
	int r = staging_leave(b->staging, &left);

	if (r < 0)
		return r;
	h->keeper_fd = left.keeper_fd;
	h->keeper_pid = left.keeper_pid;
	r = handover_leave_fd(h, h->keeper_fd);
	for (size_t i = 0; r == 0 && i < left.job_count; i++)
		r = leave_job(h, &left.jobs[i]);
	free(left.jobs);
	return r;
}

static int leave_name(const struct name_record *record, void *data)
{
	struct handover *h = data;
	struct json_object *object = json_object_new_object();
	int r = takeover_name_pack(record, object);

	if (r == 0 && json_object_array_add(h->names, object) < 0)
		r = -ENOMEM;
	if (r < 0)
		json_object_put(object);
	return r;
}

static bool is_on_its_way(const struct medium *m, char *ret_why, size_t size)
{
	const char *what = *m->name ? m->name : m->dev.kname;
	bool moves = m->view != MEDIUM_ABSENT && m->view != MEDIUM_VISIBLE;

	if (m->state == MEDIUM_REMOVED)
		(void)snprintf(ret_why, size, "%s was pulled and is not yet detached", QUOTE(what));
	else if (moves)
		(void)snprintf(ret_why, size, "%s is appearing or vanishing", QUOTE(what));
	else if (m->job || (medium_is_engaged(m) && !medium_in_use(m)))
		(void)snprintf(ret_why, size, "%s is being mounted, written out or unmounted",
			       QUOTE(what));
	else
		return false;
	return true;
}

/* The rest is found again in sysfs, or is only tried out with. */
static bool is_to_be_left(const struct medium *m)
{
	char why[1200];

	if (m->view == MEDIUM_ABSENT && m->state != MEDIUM_EJECTED && !medium_in_use(m))
		return false;
	return !is_on_its_way(m, why, sizeof(why));
}

static int leave_media(struct broker *b, struct handover *h)
{
	int r = 0;

	h->last_id = b->registry.last;
	registry_for_each (m, &b->registry)
		if (r == 0 && is_to_be_left(m))
			r = handover_leave_medium(h, m);
	return r;
}

static void leave_workload(const struct broker *b, struct handover *h)
{
	struct workload_left left;

	if (b->guard)
		h->guard_pid = guard_pid(b->guard);
	if (!b->workload)
		return;
	workload_leave(b->workload, &left);
	h->workload_pid = left.pid;
	h->workload_state = (int32_t)left.state;
	h->workload_place = left.place;
}

int upgrade_leave_facts(struct broker *b, struct handover *h)
{
	int r = handover_leave_command_line(h);

	(void)STR_COPY(h->version, HOTPLUGFS_VERSION);
	(void)STR_COPY(h->program, b->program ? b->program : "");
	(void)STR_COPY(h->mountpoint, b->mountpoint);
	(void)STR_COPY(h->operand, b->args->mountpoint);
	server_state_layout(h->state, sizeof(h->state));
	staging_protocol(h->staging, sizeof(h->staging));
	h->passthrough = b->passthrough;
	h->sequence = keep_sequence(b);
	return r == 0 ? names_each_record(b->names, leave_name, h) : r;
}

static int leave_all(struct broker *b, struct handover *h)
{
	int r = upgrade_leave_facts(b, h);

	h->events_fd = b->events_fd;
	leave_workload(b, h);
	if (r == 0)
		r = leave_server(b, h);
	if (r == 0)
		r = leave_staging(b, h);
	if (r == 0)
		r = leave_media(b, h);
	if (r == 0 && b->control)
		r = control_leave(b->control, h->control, leave_fd, h);
	if (r == 0)
		r = handover_leave_fd(h, b->events_fd);
	return r;
}

/* ret_fd: the record. */
static int leave(struct broker *b, struct handover **ret_handover, int *ret_fd)
{
	_cleanup_(handover_freep) struct handover *h = NULL;
	int r = handover_new(&h);

	if (r == 0)
		r = leave_all(b, h);
	if (r < 0)
		return r;
	h->program_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	r = h->program_fd < 0 ? -errno : handover_leave_fd(h, h->program_fd);
	if (r == 0)
		r = handover_write(h);
	if (r < 0) {
		close_fd(h->program_fd);
		return r;
	}
	*ret_fd = r;
	*ret_handover = TAKE_PTR(h);
	return 0;
}

/* ---- the steps ---- */

/* Returns only if it has failed. */
static int execute(const char *program, const struct handover *h, int record)
{
	_cleanup_free_ const char **argv = handover_command_line(h);
	char number[16];
	int r;

	(void)snprintf(number, sizeof(number), "%d", record);
	if (!argv || setenv(HANDOVER_VARIABLE, number, 1) < 0)
		return -ENOMEM;
	r = handover_set_cloexec(h, false);
	if (r == 0 && fcntl(record, F_SETFD, 0) < 0)
		r = -errno;
	if (r == 0) {
		(void)execv(program, (char *const *)argv);
		r = -errno;
	}
	(void)handover_set_cloexec(h, true);
	(void)unsetenv(HANDOVER_VARIABLE);
	return r;
}

static void hand_over(struct broker *b)
{
	_cleanup_(handover_freep) struct handover *h = NULL;
	_cleanup_close_ int record = -EBADF;
	int r = leave(b, &h, &record);

	if (r == 0) {
		log_info("executing %s", QUOTE(b->program));
		r = execute(b->program, h, record);
		close_fd(h->program_fd);
	}
	refuse(b, r, "cannot execute %s: %s", QUOTE(b->program), strerror(-r));
}

/*
 * Whether there is something that the next program could not go on with; or a request hangs on its
 * device: the server could not be killed, and until then nobody would serve the other media.
 */
bool upgrade_in_flight(struct broker *b, char *ret_why, size_t size)
{
	struct supervisor_left server;
	const char *why = NULL;

	registry_for_each (m, &b->registry) {
		if (is_on_its_way(m, ret_why, size))
			return true;
		if (m->claim)
			why = "whether somebody uses an ejected disk is being found out";
	}
	supervisor_leave(b->server, &server);
	if (!b->server_ready || !supervisor_running(b->server))
		why = "the server is being started";
	else if (drives_busy(b) || staging_busy(b->staging))
		why = "a drive is being reset or let go of";
	else if (power_busy(b))
		why = "a device is being switched off";
	else if (staging_serves(b->staging))
		why = "a disk that is in use is served by a driver program";
	else if (process_waits(server.pid))
		why = "a request to a disk does not end";
	if (why)
		(void)snprintf(ret_why, size, "%s", why);
	return why;
}

static void settle(void *data)
{
	struct broker *b = data;
	struct upgrade *u = b->upgrade;
	char why[1200] = "";
	int r;

	u->timer = loop_timer_remove(u->timer);
	if (!upgrade_in_flight(b, why, sizeof(why))) {
		hand_over(b);
		return;
	}
	if (now_ms() >= u->deadline_ms) {
		refuse(b, -EBUSY, "%.1000s", why);
		return;
	}
	r = loop_timer_add(b->loop, SETTLE_LOOK_MS, settle, b, &u->timer);
	if (r < 0)
		refuse(b, r, "out of memory");
}

static void tried(int err, const char *text, void *data)
{
	struct broker *b = data;

	b->upgrade->trial = NULL;
	if (err < 0) {
		refuse(b, err, "%s: %s", QUOTE(b->program), QUOTE(text));
		return;
	}
	log_debug("%s can take over: %s", QUOTE(b->program), QUOTE(text));
	b->upgrade->deadline_ms = now_ms() + SETTLE_DEADLINE_MS;
	settle(b);
}

static int try_out(struct broker *b)
{
	_cleanup_(handover_freep) struct handover *h = NULL;
	_cleanup_free_ const char **argv = NULL;
	_cleanup_close_ int record = -EBADF;
	int r = leave(b, &h, &record);

	if (r < 0)
		return r;
	close_fd(h->program_fd);
	argv = handover_command_line(h);
	if (!argv)
		return -ENOMEM;
	return trial_start(b->loop, b->program, argv, record, tried, b, &b->upgrade->trial);
}

void upgrade_begin(struct broker *b)
{
	int r;

	if (b->upgrade)
		return; /* whoever asked for it is answered with the first */
	if (b->phase != BROKER_SERVING) {
		refuse(b, -EAGAIN, "the daemon is starting or ending");
		return;
	}
	if (!b->resend) {
		refuse(b, -EOPNOTSUPP,
		       "this kernel does not send requests again (Linux 6.9), so some would be "
		       "lost");
		return;
	}
	b->upgrade = calloc(1, sizeof(*b->upgrade));
	r = b->upgrade && b->program ? try_out(b) : -ENOMEM;
	if (r < 0)
		refuse(b, r, "cannot try %s: %s", QUOTE(b->program ? b->program : ""),
		       strerror(-r));
}
