/*
 * The controlling terminal on standard input, and which process group has it. See credentials(7)
 * and the chapter on job control of the C library's manual.
 */
#pragma once

#include <sys/types.h>

/* How a command stands to the terminal of the process that starts it. */
enum terminal_place {
	TERMINAL_NONE,	     /* there is none: a session of its own */
	TERMINAL_FOREGROUND, /* a process group of its own, which has the terminal */
	TERMINAL_SHARED,     /* in our process group: of a pipeline, or in the background */
};

/*
 * The terminal is handed over only if it is ours to give: we are in the foreground, and reading
 * and writing it is not divided between the processes of a pipeline.
 */
enum terminal_place terminal_choose(void);

/* In the command's process, before it gives up its rights: takes the place. */
void terminal_enter(enum terminal_place place);

/* Gives the foreground to the group of a command, if it is our group's. SIGTTOU must be ignored. */
void terminal_give(pid_t group);

/* Takes the foreground back from a command, unless somebody else (a shell) has taken it before. */
void terminal_take(pid_t group);
