/* Upper bounds on everything that a disk, a client or the kernel could make us keep. */
#pragma once

#define LIMIT_MEDIA	     4096 /* media known at one time */
#define LIMIT_NAME	     255  /* bytes of a directory name in the view, without the NUL */
#define LIMIT_FILE_NAME	     1024 /* the same of a file on a disk: 255 UTF-16 units are up to 765 */
#define LIMIT_LABEL	     256  /* bytes of a decoded label, with the NUL */
#define LIMIT_UUID	     64	  /* bytes of a filesystem UUID as text, with the NUL */
#define LIMIT_FSTYPE	     32	  /* bytes of a filesystem type, with the NUL */
#define LIMIT_KNAME	     64	  /* bytes of a kernel device name, with the NUL */
#define LIMIT_HWID	     160  /* bytes of vendor, model, serial or backing file, with the NUL */
#define LIMIT_OPTIONS	     256  /* bytes of a mount option string, with the NUL */
#define LIMIT_REASON	     160  /* bytes of a reason shown to the user, with the NUL */
#define LIMIT_UEVENT	     8192 /* bytes of one uevent; the kernel's own limit is 2048 + header */
#define LIMIT_SOCKET_PATH    108  /* bytes of a unix socket's path, with the NUL: sun_path */
#define LIMIT_RELAY_PEERS    64	  /* daemons on one relay */
#define LIMIT_RELAY_USERS    48	  /* of them not of root or the relay's own user */
#define LIMIT_CONFIG_LINE    4095 /* bytes of a line of the configuration, without its end */
#define LIMIT_CONTROL_LINE   4096 /* bytes of one request on the control socket */
#define LIMIT_CONTROL_PEERS  64	  /* clients of the control socket at one time */
#define LIMIT_CONTROL_USERS  48	  /* of them not of root or the daemon's own user */
#define LIMIT_NAME_RECORDS   1024 /* remembered owners of contested names */
#define LIMIT_MEDIUM_THREADS 16	  /* requests of one medium handled at one time, of others than: */
#define LIMIT_MEDIUM_WRITES  16	  /* writes */
#define LIMIT_MEDIUM_ENDS    4	  /* closes, and what frees deleted files */
#define LIMIT_READ	     983040 /* bytes of one read: with the header they fit into a pipe of 1 MiB */
#define LIMIT_MEDIUM_QUEUE   16384 /* requests of one medium waiting for a thread */
#define LIMIT_BACKGROUND     65535 /* requests of the view that no caller waits for */
