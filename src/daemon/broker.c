#include "broker.h"

#include <cap-ng.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/log.h"
#include "daemon/context.h"
#include "daemon/handover.h"
#include "daemon/helper.h"
#include "daemon/mountpoint.h"
#include "daemon/notify.h"
#include "staging/programs.h"

/* A device that hangs must not keep the daemon from being ready. */
#define READY_PATIENCE_MS 2000

static bool cold_start_done(struct broker *b)
{
	if (!probing_quiet(b))
		return false;
	registry_for_each (m, &b->registry)
		if (m->view == MEDIUM_WAITING || m->view == MEDIUM_ADDING ||
		    m->view == MEDIUM_APPEARING)
			return false;
	return true;
}

static void say_ready(void *data)
{
	struct broker *b = data;

	b->ready_timer = loop_timer_remove(b->ready_timer);
	b->phase = BROKER_SERVING;
	log_info("serving %s", QUOTE(b->mountpoint));
	notify_ready(&b->ready, b->loop);
	if (b->workload)
		running_start(b);
}

void broker_check_ready(struct broker *b)
{
	if (b->phase == BROKER_COLD && cold_start_done(b))
		say_ready(b);
}

void broker_server_ready(struct broker *b)
{
	takeover_ready(b);
	keep_start(b);
	if (b->phase != BROKER_STARTING)
		return;
	b->phase = BROKER_COLD;
	(void)loop_timer_add(b->loop, READY_PATIENCE_MS, say_ready, b, &b->ready_timer);
	broker_check_ready(b);
}

static void device_event(const char *kname, void *data)
{
	struct broker *b = data;

	if (b->phase != BROKER_ENDING)
		reconcile_device(b, kname, RECONCILE_EVENT);
}

static void events_lost(void *data)
{
	struct broker *b = data;

	if (b->phase != BROKER_ENDING)
		reconcile_all(b, RECONCILE_EVENT);
}

static void on_signal(const struct signalfd_siginfo *info, void *data)
{
	struct broker *b = data;

	if (info->ssi_signo == SIGCHLD)
		loop_reap_strangers(b->loop);
	if (b->workload) {
		running_signal(b, info);
	} else if (info->ssi_signo == SIGHUP) {
		if (b->phase != BROKER_ENDING)
			reload_config(b);
	} else if (info->ssi_signo == SIGUSR2) {
		upgrade_begin(b);
	} else if (info->ssi_signo == SIGUSR1 && keep_leave(b)) {
		log_debug("ending without the view");
	} else if (info->ssi_signo != SIGCHLD) {
		log_info("ending");
		shutdown_begin(b, 0);
	}
}

/* Whether orphans become our children. COMMAND may leave some, and ends when we end. */
static bool becomes_reaper(const struct broker *b)
{
	return getpid() == 1 || (b->workload && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
}

static int start_signals(struct broker *b)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGRTMIN + 3); /* what systemd in a container is stopped with */
	if (becomes_reaper(b))
		sigaddset(&set, SIGCHLD);
	if (b->workload)
		running_signals(b, &set);
	return loop_signals(b->loop, &set, on_signal, b);
}

static int check_rights(void)
{
	if (capng_get_caps_process() < 0)
		return 0; /* mount(2) will tell */
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN))
		return 0;
	log_err("CAP_SYS_ADMIN is needed: run as root, or give the container "
		"--cap-add SYS_ADMIN");
	return -EPERM;
}

static int open_directory(const char *path, const char *what, int *ret_fd)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		int r = -errno;

		log_err("cannot open %s %s: %s", what, QUOTE(path), strerror(-r));
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int open_sysfs(struct broker *b)
{
	bool sysfs;

	b->sysfs_fd = blockdev_open(&sysfs);
	if (b->sysfs_fd < 0) {
		log_err("there is neither /sys nor /proc: %s", strerror(-b->sysfs_fd));
		return b->sysfs_fd;
	}
	if (!sysfs)
		log_warning("there is no sysfs on /sys: disks are known from /proc/partitions, and "
			    "only those that --include names or a rule shows by name are shown; "
			    "an exchanged card is noticed late");
	return 0;
}

static int open_directories(struct broker *b)
{
	int r = open_sysfs(b);

	if (r == 0)
		r = open_directory("/proc", "proc at", &b->proc_fd);
	if (r == 0)
		r = open_directory(b->config->dev_dir, "the device directory", &b->dev_fd);
	return r;
}

static int failed(const char *what, int r)
{
	if (r < 0)
		log_err("cannot %s: %s", what, strerror(-r));
	return r;
}

static int start_control(struct broker *b)
{
	const char *path = b->config->socket_path;
	bool refused;
	int r;

	if (b->handover && !b->stored)
		return failed("take over the control socket", takeover_control(b));
	r = control_new(b->loop, path, commands_request, b, &b->control);
	refused = r == -EROFS || r == -EACCES; /* a read-only root, a plain user */
	if (r == -EADDRINUSE)
		log_err("another hotplugfs listens on %s: stop it, or use --socket", QUOTE(path));
	else if (r == -EEXIST)
		log_err("cannot listen on %s: it is there and not a socket", QUOTE(path));
	else if (refused && b->workload)
		log_warning("no control socket at %s: %s", QUOTE(path), strerror(-r));
	else if (r < 0)
		log_err("cannot listen on %s: %s", QUOTE(path), strerror(-r));
	return refused && b->workload ? 0 : r; /* COMMAND can do without it */
}

static int start_server(struct broker *b)
{
	const struct announcer_events announcer_events = {
		.started = server_announcer_started, .done = visibility_announced, .data = b};
	struct supervisor_events events = server_events;
	struct supervisor_args args = {
		.passthrough = b->config->passthrough,
		.strict = b->config->durability == DURABILITY_STRICT,
		.idle_timeout_ms = b->config->idle_timeout_ms,
	};
	int r;

	events.data = b;
	if (b->handover) {
		r = takeover_server(b, &args, &events);
	} else {
		args.fuse_fd = mountpoint_mount(b->mountpoint, b->config->exec);
		if (args.fuse_fd < 0)
			return args.fuse_fd;
		r = supervisor_new(b->loop, &args, &events, &b->server);
	}
	if (r == 0)
		r = announcer_new(b->loop, b->mountpoint, &announcer_events, &b->announcer);
	if (r == 0 && !b->handover)
		r = supervisor_start(b->server);
	return failed("start the server", r);
}

struct staging_args broker_staging_args(struct broker *b)
{
	return (struct staging_args){
		.dev_fd = b->dev_fd,
		.dev_dir = b->config->dev_dir,
		.died = storage_driver_died,
		.data = b,
	};
}

static int start_staging(struct broker *b)
{
	const struct staging_args args = broker_staging_args(b);

	if (!kernel_mounts_here())
		log_notice("in a user namespace the kernel mounts no disks: programs do it, where "
			   "they are installed");
	return failed("make the staging namespace",
		      b->handover ? takeover_staging(b) : staging_new(b->loop, &args, &b->staging));
}

static int start_sources(struct broker *b)
{
	const struct source_events events = {
		.device = device_event, .lost = events_lost, .data = b};
	struct rung rung;
	int r;

	rung_choose(b->config, &rung);
	if (rung.kind == EVENTS_FD)
		b->events_fd = rung.fd;
	r = watch_new(b->loop, &rung, b->config, b->sysfs_fd, &events, &b->watch);
	if (r < 0)
		return r;
	/* else udevd makes the kernel tell, or inotify does */
	if (!rung.udev_running && rung.kind != EVENTS_INOTIFY)
		written_start(b);
	return failed("talk to udevd", udev_source_new(b->loop, rung.kind == EVENTS_UDEV,
						       device_event, b, &b->udev));
}

/*
 * Sources come before the first look, so that nothing falls between the two. What leaves traces
 * on a disk comes last: a start that is refused leaves none.
 */
static int start(struct broker *b)
{
	int r = check_rights();

	if (r == 0 && !b->handover)
		r = mountpoint_prepare(b->args->mountpoint, &b->mountpoint);
	if (r == 0)
		r = open_directories(b);
	if (r == 0)
		r = failed("make the event loop", loop_new(&b->loop));
	if (r == 0 && b->args->workload)
		r = failed("prepare for the command", running_prepare(b));
	if (r == 0)
		r = failed("watch signals", start_signals(b));
	if (r == 0)
		r = start_control(b);
	if (r == 0)
		r = start_staging(b);
	if (r == 0)
		r = start_sources(b);
	if (r == 0)
		r = start_server(b);
	if (r == 0)
		r = failed("read the names of earlier disks",
			   names_new(b->config->state_dir, &b->names));
	if (r == 0 && b->handover)
		r = failed("take over the disks", takeover_media(b));
	return r;
}

/* What was there before is served by the old server until the new one can do all of it. */
static int go_on(struct broker *b)
{
	takeover_commit(b);
	reconcile_all(b, RECONCILE_EVENT);
	reconcile_all(b, RECONCILE_RELOAD); /* the settings may be others */
	return failed("put another server in its place", supervisor_start(b->server));
}

static void free_media(struct broker *b)
{
	registry_for_each (m, &b->registry) {
		probing_cancel(b, m);
		staging_job_forget(m->job);
		helper_cancel(m->claim);
		loop_timer_remove(m->udev_timer);
		loop_timer_remove(m->sync_timer);
		loop_timer_remove(m->close_timer);
		loop_timer_remove(m->update_timer);
		close_fd(m->root_fd);
		registry_drop(&b->registry, m);
	}
}

/* The connection is closed first, so that unmounting cannot wait for anybody. */
static void stop(struct broker *b)
{
	bool mounted = b->server && !b->left;

	workload_free(b->workload);
	control_free(b->control);
	watch_free(b->watch);
	written_free(b->written);
	udev_source_free(b->udev);
	announcer_free(b->announcer);
	supervisor_free(b->server);
	if (mounted)
		(void)mountpoint_unmount(b->mountpoint);
	guard_free(b->guard);
	free_media(b);
	drives_free(b);
	power_stop(b);
	handover_free(b->handover);
	staging_free(b->staging);
	names_free(b->names);
	loop_timer_remove(b->ready_timer);
	notify_ready_done(&b->ready);
	loop_timer_remove(b->reap_timer);
	loop_timer_remove(b->precedence_timer);
	loop_timer_remove(b->look_timer);
	loop_free(b->loop);
	sysdisk_done(&b->sysdisk);
	close_fd(b->sysfs_fd);
	close_fd(b->proc_fd);
	close_fd(b->dev_fd);
	config_free(b->config);
	free(b->mountpoint);
	free(b->program);
	free(b);
}

/* A handful of fds for each mounted medium, here and in the server. */
static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Asked at the start: another program that is installed later is found at the same place. */
static char *own_program(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path));

	return n > 0 && n < (ssize_t)sizeof(path) ? strndup(path, (size_t)n) : NULL;
}

int broker_run(const struct broker_args *args)
{
	struct broker *b = calloc(1, sizeof(*b));
	int r;

	if (!b) {
		config_free(args->config);
		return -ENOMEM;
	}
	b->args = args;
	b->config = args->config;
	b->sysfs_fd = b->proc_fd = b->dev_fd = b->record_fd = b->events_fd = -EBADF;
	b->program = own_program();
	list_init(&b->probe_queue);
	list_init(&b->drives);
	list_init(&b->powers);
	(void)umask(022);
	raise_fd_limit();
	precedence_start(b);
	r = takeover_begin(b);
	if (r == 0)
		r = start(b);
	if (r < 0 && getenv(HANDOVER_VARIABLE))
		return r; /* nothing is ended that the program before could go on with */
	if (r == 0 && b->handover)
		r = go_on(b);
	else if (r == 0)
		reconcile_all(b, RECONCILE_EVENT);
	if (r == 0)
		r = loop_run(b->loop);
	stop(b);
	return r;
}
