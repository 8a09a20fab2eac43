/*
 * Drivers that are programs, for filesystems that the kernel does not mount: in a user namespace,
 * where it mounts nothing from a device, and where it does not know the type. A table.
 */
#pragma once

#include "staging/drivers.h"

/*
 * The driver for a type here: the kernel's where it mounts disks for us (in the host's user
 * namespace) and may have one, else a program that is installed. NULL: none; missing, if not NULL,
 * then says what to do, as a reason for people.
 */
const struct driver *driver_here(const char *fstype, char missing[LIMIT_REASON]);

/* The driver of this type and of this kernel_type, or NULL. Pure. */
const struct driver *driver_named(const char *fstype, const char *name);

/*
 * What to try when the kernel does not know the type of this driver: the kernel's other one, or a
 * program that is installed. NULL: nothing more.
 */
const struct driver *driver_next(const struct driver *driver);

/* Whether the kernel mounts disks in our user namespace. */
bool kernel_mounts_here(void);

/*
 * Whether a program that is not installed would be a driver for a type; then text tells its name
 * and package.
 */
bool program_is_missing(const char *fstype, char text[LIMIT_REASON]);

/* The program for a type, installed or not; NULL: we know of none. Pure. */
const struct driver *program_for(const char *fstype);

/* All of them by their number; NULL: there are no more. */
const struct driver *program_at(size_t index);

#define PROGRAM_PATH_SIZE 64
/* Where the program of a driver is. Returns 0, or -ENOENT when it is not installed. */
int program_locate(const struct driver *driver, char ret_path[PROGRAM_PATH_SIZE]);
