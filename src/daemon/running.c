/* What the broker does for COMMAND of `hotplugfs run`: starts it, hands on signals, ends with it.
 */
#include <signal.h>

#include "base/log.h"
#include "context.h"

/* When the view is gone; then it is killed. As long as docker waits. */
#define LOST_PATIENCE_MS 10000

/* The others are answers to a mistake or to job control, or mean the process that gets them. */
static const int not_for_command[] = {SIGSEGV, SIGBUS,	SIGFPE,	 SIGILL,  SIGTRAP, SIGABRT, SIGSYS,
				      SIGXCPU, SIGXFSZ, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU};

/* Before COMMAND runs, and after its end, these are for the daemon itself. */
static bool ends_daemon(int signo)
{
	return signo == SIGTERM || signo == SIGINT || signo == SIGHUP || signo == SIGQUIT ||
	       signo == SIGRTMIN + 3;
}

static void command_ended(int status, void *data)
{
	struct broker *b = data;

	shutdown_begin(b, b->lost < 0 ? b->lost : status);
}

int running_prepare(struct broker *b)
{
	int r = workload_new(b->loop, b->args->workload, command_ended, b, &b->workload);

	if (r == 0)
		r = b->handover ? takeover_workload(b)
				: guard_new(b->loop, b->mountpoint, &b->guard);
	return r;
}

void running_signals(struct broker *b, sigset_t *set)
{
	sigfillset(set);
	for (int signo = 1; signo <= SIGRTMAX; signo++)
		if (sigismember(&b->args->workload->ignored, signo) == 1)
			sigdelset(set, signo); /* ignored by us, too */
	for (size_t i = 0; i < ARRAY_SIZE(not_for_command); i++)
		sigdelset(set, not_for_command[i]);
	/* Taking the terminal back, and messages while COMMAND has it, must not stop us. */
	(void)signal(SIGTTOU, SIG_IGN);
}

void running_start(struct broker *b)
{
	int r = workload_start(b->workload);

	if (r == 0)
		return;
	log_err("cannot start the command: %s", strerror(-r));
	shutdown_begin(b, r);
}

/* As if COMMAND had been there and got it. */
static void end_early(struct broker *b, int signo)
{
	if (b->phase != BROKER_ENDING)
		shutdown_begin(b, 128 + (signo == SIGRTMIN + 3 ? SIGTERM : signo));
}

/* Whoever sends one more does not want to wait; but a hangup often comes twice. */
static void end_sooner(struct broker *b, const struct signalfd_siginfo *info)
{
	if (info->ssi_signo != SIGHUP && !workload_was_sent(b->workload, info))
		shutdown_begin(b, 0);
}

void running_signal(struct broker *b, const struct signalfd_siginfo *info)
{
	int signo = (int)info->ssi_signo;

	switch (workload_state(b->workload)) {
	case WORKLOAD_RUNNING:
	case WORKLOAD_STOPPING:
		workload_signal(b->workload, info);
		break;
	case WORKLOAD_WAITING:
		if (ends_daemon(signo))
			end_early(b, signo);
		break;
	case WORKLOAD_ENDED:
		if (ends_daemon(signo))
			end_sooner(b, info);
		break;
	case WORKLOAD_STATE_COUNT:
		break;
	}
}

void running_lost(struct broker *b, int err)
{
	enum workload_state state = workload_state(b->workload);

	b->lost = err;
	if (state == WORKLOAD_RUNNING || state == WORKLOAD_STOPPING)
		workload_stop(b->workload, LOST_PATIENCE_MS);
	else
		shutdown_begin(b, err);
}
