/*
 * The broker's event loop: epoll over file descriptors, one-shot timers, signals and children.
 * One thread, no periodic wake-up: with nothing armed the loop sleeps for ever. A callback must
 * never wait for a device.
 */
#pragma once

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/types.h>

#include "util.h"

struct loop;
struct loop_fd;
struct loop_timer;
struct loop_child;

/* events: EPOLLIN and so on. The fd stays the caller's. */
typedef void (*loop_fd_fn)(int fd, uint32_t events, void *data);
typedef void (*loop_timer_fn)(void *data);
/* info: as from signalfd(2); ssi_code SI_KERNEL: nobody sent it but a terminal. */
typedef void (*loop_signal_fn)(const struct signalfd_siginfo *info, void *data);
/* status: as from waitid(2), in the form of wait(2) (WIFEXITED and so on). */
typedef void (*loop_child_fn)(pid_t pid, int status, void *data);

/* Returns 0 or -errno. */
int loop_new(struct loop **ret_loop);
/* Accepts NULL. Sources that are still there are freed, their fds are not closed. */
struct loop *loop_free(struct loop *loop);

/* Runs until loop_quit(); returns the code given there, or -errno. */
int loop_run(struct loop *loop);
void loop_quit(struct loop *loop, int code);

/* Watches an fd, level triggered. Returns 0 or -errno. */
int loop_fd_add(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *data,
		struct loop_fd **ret_source);
/* Changes the events that are waited for. */
int loop_fd_events(struct loop_fd *source, uint32_t events);
/* Stops watching; call it before closing the fd. Accepts NULL, returns NULL. Safe in callbacks. */
struct loop_fd *loop_fd_remove(struct loop_fd *source);

/* Calls fn once, delay_ms from now. Returns 0 or -errno. */
int loop_timer_add(struct loop *loop, uint64_t delay_ms, loop_timer_fn fn, void *data,
		   struct loop_timer **ret_timer);
/* Cancels; also to be called for a timer that has fired. Accepts NULL, returns NULL. */
struct loop_timer *loop_timer_remove(struct loop_timer *timer);

/*
 * Blocks the signals in this thread and reports them through fn. Once per loop. Children must
 * call loop_signals_reset() after fork. SIGCHLD is handled by loop_child_add().
 */
int loop_signals(struct loop *loop, const sigset_t *set, loop_signal_fn fn, void *data);
/* In a forked child: default handlers and an empty mask. */
void loop_signals_reset(void);

/*
 * Watches a child of this process through a pidfd and reaps it when it ends; then fn is called
 * and the source is gone. Returns 0 or -errno (the child then stays the caller's to reap).
 */
int loop_child_add(struct loop *loop, pid_t pid, loop_child_fn fn, void *data,
		   struct loop_child **ret_child);
/* Forgets fn; the child is still reaped when it ends. Accepts NULL, returns NULL. */
struct loop_child *loop_child_forget(struct loop_child *child);

/*
 * Reaps children that have ended and were never added: what a process 1 inherits. To be called on
 * SIGCHLD. A process with one thread only.
 */
void loop_reap_strangers(const struct loop *loop);

/*
 * Children of this process that were never added, of another program that ran in it: they are
 * reaped when they end. Returns 0 or -errno.
 */
int loop_adopt_strangers(struct loop *loop);

/* CLOCK_MONOTONIC in milliseconds. */
uint64_t now_ms(void);
uint64_t now_us(void);
