#include "workload.h"

#include <assert.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/process.h"
#include "daemon/terminal.h"

/* As of shells and env(1). */
#define STATUS_NOT_EXECUTABLE 126
#define STATUS_NOT_FOUND      127
#define STATUS_SIGNALED	      128

struct workload {
	struct loop *loop;
	const struct workload_args *args;
	workload_ended_fn ended;
	void *data;
	enum workload_state state;
	enum terminal_place place;
	pid_t pid;
	struct loop_child *child;
	struct loop_timer *deadline;
};

static const char *const state_names[WORKLOAD_STATE_COUNT] = {"waiting", "running", "stopping",
							      "ended"};

static void set_state(struct workload *w, enum workload_state state)
{
	assert(state > w->state); /* each is entered once, in this order; some are left out */
	log_debug("command: %s -> %s", state_names[w->state], state_names[state]);
	w->state = state;
}

enum workload_state workload_state(const struct workload *w)
{
	return w->state;
}

void workload_args_inherit(struct workload_args *args)
{
	struct sigaction action;

	args->umask = umask(022);
	(void)umask(args->umask);
	(void)getrlimit(RLIMIT_NOFILE, &args->files);
	sigemptyset(&args->ignored);
	for (int signo = 1; signo <= SIGRTMAX; signo++)
		if (signo != SIGPIPE && signo != SIGCHLD && sigaction(signo, NULL, &action) == 0 &&
		    action.sa_handler == SIG_IGN)
			sigaddset(&args->ignored, signo);
}

int workload_new(struct loop *loop, const struct workload_args *args, workload_ended_fn ended,
		 void *data, struct workload **ret_workload)
{
	struct workload *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	*w = (struct workload){.loop = loop, .args = args, .ended = ended, .data = data};
	*ret_workload = w;
	return 0;
}

/* ---- the child ---- */

static void signals_inherit(const struct workload_args *args)
{
	loop_signals_reset();
	(void)signal(SIGPIPE, SIG_DFL);
	for (int signo = 1; signo <= SIGRTMAX; signo++)
		if (sigismember(&args->ignored, signo) == 1)
			(void)signal(signo, SIG_IGN);
}

static void child_main(const struct workload *w, pid_t parent)
{
	const struct workload_args *args = w->args;
	int r;

	signals_inherit(args);
	terminal_enter(w->place);
	(void)umask(args->umask);
	(void)setrlimit(RLIMIT_NOFILE, &args->files);
	process_keep_fds(NULL, 0);
	(void)unsetenv("NOTIFY_SOCKET"); /* we have told it, and it listens to nobody else */
	(void)unsetenv("LISTEN_FDS");	 /* they were for us, and are closed here */
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDNAMES");
	r = privileges_drop(&args->identity);
	if (r < 0)
		log_err("cannot give up all rights: %s", strerror(-r));
	if (r < 0 || process_die_with(parent) < 0)
		_exit(1);
	r = process_exec(args->argv);
	log_err("cannot run %s: %s", QUOTE(args->argv[0]), strerror(-r));
	_exit(r == -ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE);
}

/* ---- its end ---- */

static void child_ended(pid_t pid, int status, void *data)
{
	struct workload *w = data;

	w->child = NULL;
	w->deadline = loop_timer_remove(w->deadline);
	set_state(w, WORKLOAD_ENDED);
	if (w->place == TERMINAL_FOREGROUND)
		terminal_take(pid);
	w->ended(WIFSIGNALED(status) ? STATUS_SIGNALED + WTERMSIG(status) : WEXITSTATUS(status),
		 w->data);
}

static bool is_alive(const struct workload *w)
{
	return w->state == WORKLOAD_RUNNING || w->state == WORKLOAD_STOPPING;
}

/*
 * Without CAP_KILL a process may only be signalled by its own user, which we become for a moment.
 * It cannot signal us meanwhile: for that our real and saved ids count.
 */
static void send_as_user(const struct workload *w, int signo)
{
	uid_t self = geteuid();

	if (seteuid(w->args->identity.uid) < 0)
		return;
	(void)kill(w->pid, signo);
	if (seteuid(self) < 0)
		log_err("cannot become user %d again: %s", (int)self, strerror(errno));
}

static void send_signal(const struct workload *w, int signo)
{
	if (kill(w->pid, signo) < 0 && errno == EPERM && w->args->identity.change)
		send_as_user(w, signo);
}

struct workload *workload_free(struct workload *w)
{
	if (!w)
		return NULL;
	if (is_alive(w))
		send_signal(w, SIGKILL);
	loop_child_forget(w->child);
	loop_timer_remove(w->deadline);
	free(w);
	return NULL;
}

int workload_start(struct workload *w)
{
	pid_t parent = getpid();
	int r;

	w->place = terminal_choose();
	w->pid = fork();
	if (w->pid < 0)
		return -errno;
	if (w->pid == 0)
		child_main(w, parent);
	set_state(w, WORKLOAD_RUNNING);
	r = loop_child_add(w->loop, w->pid, child_ended, w, &w->child);
	if (r < 0) {
		send_signal(w, SIGKILL);
		(void)waitpid(w->pid, NULL, 0);
		set_state(w, WORKLOAD_ENDED);
	}
	return r;
}

void workload_leave(const struct workload *w, struct workload_left *ret_left)
{
	*ret_left = (struct workload_left){w->pid, w->state, (int)w->place};
}

int workload_take(struct workload *w, const struct workload_left *left)
{
	int r;

	if (left->pid <= 0 || (left->state != WORKLOAD_RUNNING && left->state != WORKLOAD_STOPPING))
		return -EBADMSG;
	r = loop_child_add(w->loop, left->pid, child_ended, w, &w->child);
	if (r < 0)
		return r;
	w->pid = left->pid;
	w->place = (enum terminal_place)left->place;
	set_state(w, left->state);
	return 0;
}

/* ---- signals ---- */

static void resume(struct workload *w)
{
	if (w->place != TERMINAL_FOREGROUND) {
		send_signal(w, SIGCONT);
		return;
	}
	terminal_give(w->pid);
	(void)kill(-w->pid, SIGCONT);
}

/*
 * SIGTSTP to our own group does nothing if no shell could resume us (an orphaned process group, or
 * process 1): then COMMAND goes on at once. Else we stop here until SIGCONT.
 */
static void suspend(struct workload *w, int signo)
{
	(void)kill(0, SIGTSTP);
	if (signo != SIGSTOP) /* which was not meant for a terminal */
		resume(w);
}

static void check_suspended(struct workload *w)
{
	siginfo_t info = {0};

	if (waitid(P_PID, (id_t)w->pid, &info, WSTOPPED | WNOHANG) < 0 || info.si_pid == 0)
		return;
	if (w->place == TERMINAL_FOREGROUND)
		suspend(w, info.si_status);
}

static void halt(struct workload *w)
{
	bool again = w->state == WORKLOAD_STOPPING;

	send_signal(w, again ? SIGKILL : SIGTERM);
	if (again)
		return;
	set_state(w, WORKLOAD_STOPPING);
	resume(w); /* what is suspended would not see it */
}

bool workload_was_sent(const struct workload *w, const struct signalfd_siginfo *info)
{
	return w->place == TERMINAL_SHARED && info->ssi_code == SI_KERNEL;
}

void workload_signal(struct workload *w, const struct signalfd_siginfo *info)
{
	int signo = (int)info->ssi_signo;

	if (!is_alive(w))
		return;
	if (signo == SIGCHLD)
		check_suspended(w);
	else if (signo == SIGRTMIN + 3)
		halt(w);
	else if (signo == SIGCONT)
		resume(w);
	else if (!workload_was_sent(w, info))
		send_signal(w, signo);
}

static void deadline_passed(void *data)
{
	struct workload *w = data;

	w->deadline = loop_timer_remove(w->deadline);
	log_warning("the command does not end, killing it");
	send_signal(w, SIGKILL);
}

void workload_stop(struct workload *w, uint64_t timeout_ms)
{
	if (!is_alive(w))
		return;
	if (w->state == WORKLOAD_RUNNING)
		halt(w);
	if (!w->deadline)
		(void)loop_timer_add(w->loop, timeout_ms, deadline_passed, w, &w->deadline);
}
