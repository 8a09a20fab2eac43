/*
 * How somebody else learns at once that this process was killed. A process has not ended before the
 * last of its threads has, and one that waits in the kernel for a device, or for a lock, may do so
 * for ever; nobody is told until then, and its descriptors stay open.
 */
#pragma once

/*
 * Starts a thread that keeps nothing but fd (taken over), in a table of its own, and sleeps: what
 * is at the other end hangs up when this process is killed or ends. Returns 0 or -errno.
 */
int lifeline_start(int fd);
