#include "trial.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/process.h"
#include "daemon/handover.h"

#define TRIAL_DEADLINE_MS 10000
#define RECORD_FD	  3 /* in the child */

struct trial {
	pid_t pid;
	struct loop_child *child;
	struct loop_timer *deadline;
	int output; /* what the program prints, on both */
	trial_done_fn done;
	void *data;
};

static struct trial *trial_free(struct trial *t)
{
	loop_child_forget(t->child);
	loop_timer_remove(t->deadline);
	close_fd(t->output);
	free(t);
	return NULL;
}

static void finish(struct trial *t, int err, const char *text)
{
	trial_done_fn done = t->done;
	void *data = t->data;

	trial_free(t);
	done(err, text, data);
}

/* The last line, without its end: programs say last why they give up. */
static const char *last_line(char *text)
{
	char *end = text + strlen(text);
	char *line;

	while (end > text && end[-1] == '\n')
		*--end = '\0';
	line = strrchr(text, '\n');
	return line ? line + 1 : text;
}

static void child_ended(pid_t pid, int status, void *data)
{
	static const size_t answer_len = sizeof(HANDOVER_ANSWER) - 1;
	struct trial *t = data;
	char text[1024];
	ssize_t n = read(t->output, text, sizeof(text) - 1);
	const char *line;

	(void)pid;
	t->child = NULL;
	text[n > 0 ? n : 0] = '\0';
	line = last_line(text);
	if (WIFSIGNALED(status))
		finish(t, -ENOEXEC, "it crashes");
	else if (WEXITSTATUS(status) != 0)
		finish(t, -ENOEXEC, *line ? line : "it fails without a word");
	else if (strncmp(line, HANDOVER_ANSWER, answer_len) != 0)
		finish(t, -ENOEXEC, "it does not know how to take over");
	else
		finish(t, 0, line + answer_len);
}

static void expired(void *data)
{
	struct trial *t = data;

	(void)kill(t->pid, SIGKILL);
	finish(t, -ETIMEDOUT, "it does not answer");
}

/* The program, HANDOVER_OPTION, the record, and what followed the program's name. */
static char **trial_argv(const char *program, const char *const *argv, const char *record)
{
	size_t count = 0;
	char **full;

	while (argv[count])
		count++;
	full = calloc(count + 4, sizeof(*full));
	if (!full)
		return NULL;
	full[0] = (char *)program;
	full[1] = (char *)HANDOVER_OPTION;
	full[2] = (char *)record;
	for (size_t i = 1; i < count; i++)
		full[i + 2] = (char *)argv[i];
	return full;
}

static void child_main(const char *program, const char *const *argv, int record_fd, int output,
		       pid_t parent)
{
	static const char record[] = {'0' + RECORD_FD, '\0'};
	char **full = trial_argv(program, argv, record);
	int kept[] = {RECORD_FD};

	loop_signals_reset();
	(void)signal(SIGPIPE, SIG_DFL);
	if (!full || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
		_exit(1);
	if (record_fd == RECORD_FD ? fcntl(record_fd, F_SETFD, 0) < 0
				   : dup2(record_fd, RECORD_FD) < 0)
		_exit(1);
	process_keep_fds(kept, ARRAY_SIZE(kept));
	if (process_die_with(parent) < 0)
		_exit(1);
	(void)execv(program, full);
	(void)dprintf(STDERR_FILENO, "it cannot be executed: %s\n", strerror(errno));
	_exit(127);
}

static int start(struct trial *t, struct loop *loop, const char *program, const char *const *argv,
		 int record_fd)
{
	_cleanup_close_ int theirs = -EBADF;
	pid_t parent = getpid();
	int fds[2];
	int r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	t->output = fds[0];
	theirs = fds[1];
	if (fcntl(t->output, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	t->pid = fork();
	if (t->pid < 0)
		return -errno;
	if (t->pid == 0)
		child_main(program, argv, record_fd, theirs, parent);
	r = loop_child_add(loop, t->pid, child_ended, t, &t->child);
	if (r < 0) {
		process_kill_new(t->pid);
		return r;
	}
	r = loop_timer_add(loop, TRIAL_DEADLINE_MS, expired, t, &t->deadline);
	if (r < 0)
		(void)kill(t->pid, SIGKILL);
	return r;
}

int trial_start(struct loop *loop, const char *program, const char *const *argv, int record_fd,
		trial_done_fn done, void *data, struct trial **ret_trial)
{
	struct trial *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	*t = (struct trial){.output = -EBADF, .done = done, .data = data};
	r = start(t, loop, program, argv, record_fd);
	if (r < 0)
		trial_free(t);
	else
		*ret_trial = t;
	return r;
}

struct trial *trial_cancel(struct trial *t)
{
	if (!t)
		return NULL;
	(void)kill(t->pid, SIGKILL);
	return trial_free(t);
}
