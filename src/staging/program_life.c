#include "program_life.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/process.h"
#include "staging/program_mount.h"

/* What it may write before others have their turn. */
#define WORDS_MAX 64

static void line_ends(struct program *program)
{
	program->line[program->line_length] = '\0';
	program->line_length = 0;
	if (!program->line[0])
		return;
	(void)STR_COPY(program->words, program->line);
	if (!*program->first_words)
		(void)STR_COPY(program->first_words, program->line);
	log_debug("%s (pid %d) says: %s", program->name, (int)program->pid, QUOTE(program->words));
}

/* Only plain characters: it speaks of what a stranger's disk holds. What is too long is cut. */
static void take_words(struct program *program, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (c == '\n')
			line_ends(program);
		else if (program->line_length + 1 < sizeof(program->line))
			program->line[program->line_length++] = c < ' ' || c > '~' ? '_' : c;
	}
}

/* Returns whether there may be more. */
static bool read_words(struct program *program)
{
	char text[512];
	ssize_t n = read(program->words_fd, text, sizeof(text));

	if (n > 0)
		take_words(program, text, (size_t)n);
	return n > 0;
}

static void close_words(struct program *program)
{
	if (program->line_length > 0)
		line_ends(program);
	program->words_source = loop_fd_remove(program->words_source);
	program->words_fd = close_fd(program->words_fd);
}

static void words_come(int fd, uint32_t events, void *data)
{
	struct program *program = data;

	(void)fd;
	if (!read_words(program) && events & EPOLLHUP)
		close_words(program);
}

static void read_all_words(struct program *program)
{
	for (int i = 0; i < WORDS_MAX && program->words_fd >= 0; i++)
		if (!read_words(program))
			break;
}

static void has_mounted(bool read_only, void *data)
{
	struct program *program = data;

	read_all_words(program);
	program->read_only = read_only;
}

static void child_ended(pid_t pid, int status, void *data)
{
	struct program *program = data;

	(void)pid;
	program->child = NULL;
	program->status = status;
	program->mount = program_mount_free(program->mount);
	read_all_words(program);
	close_words(program);
	program->ended(program, program->data);
}

/* Forks, and prepares for what a driver that mounts asks then. */
static int fork_one(struct loop *loop, const struct program_order *order, struct program *program)
{
	_cleanup_close_ int listener_to = -EBADF;
	struct program_order whole = *order;
	int r = 0;

	if (order->driver->mounts)
		r = program_mount_new(loop, order->fuse_fd, has_mounted, program, &listener_to,
				      &program->mount);
	whole.listener_to = listener_to;
	return r < 0 ? r : program_fork(&whole, &program->pid, &program->words_fd);
}

int program_start(struct loop *loop, const struct program_order *order,
		  void (*ended)(struct program *program, void *data), void *data,
		  struct program **ret_program)
{
	struct program *program = calloc(1, sizeof(*program));
	int r;

	if (!program)
		return -ENOMEM;
	*program = (struct program){
		.name = order->driver->program, .words_fd = -EBADF, .ended = ended, .data = data};
	list_init(&program->link);
	r = fork_one(loop, order, program);
	if (r == 0) {
		r = loop_child_add(loop, program->pid, child_ended, program, &program->child);
		if (r < 0)
			process_kill_new(program->pid);
	}
	if (r == 0)
		r = loop_fd_add(loop, program->words_fd, EPOLLIN, words_come, program,
				&program->words_source);
	if (r < 0) {
		program_kill(program);
		program_free(program);
		return r;
	}
	*ret_program = program;
	return 0;
}

/* It is our child and not yet reaped, so the number is its own. */
void program_kill(struct program *program)
{
	if (program->child)
		(void)kill(program->pid, SIGKILL);
}

void program_fate(const struct program *program, char fate[LIMIT_REASON])
{
	const char *colon = *program->words ? ": " : "";

	if (program->child)
		(void)snprintf(fate, LIMIT_REASON, "%s does not end", program->name);
	else if (WIFSIGNALED(program->status))
		(void)snprintf(fate, LIMIT_REASON, "%s was killed by signal %d", program->name,
			       WTERMSIG(program->status));
	else if (WEXITSTATUS(program->status) != 0)
		(void)snprintf(fate, LIMIT_REASON, "%s ended with status %d%s%.100s", program->name,
			       WEXITSTATUS(program->status), colon, program->words);
	else
		(void)snprintf(fate, LIMIT_REASON, "%s ended%s%.100s", program->name, colon,
			       program->words);
}

bool program_ended_well(const struct program *program)
{
	return !program->child && WIFEXITED(program->status) && WEXITSTATUS(program->status) == 0;
}

struct program *program_free(struct program *program)
{
	if (!program)
		return NULL;
	loop_child_forget(program->child);
	program_mount_free(program->mount);
	loop_fd_remove(program->words_source);
	close_fd(program->words_fd);
	list_remove(&program->link);
	free(program);
	return NULL;
}
