/*
 * The control socket: a unix stream socket, one JSON object a line in both directions.
 *
 *   {"command":"list","all":false}      -> {"ok":true,"media":[MEDIUM, ...]}
 *   {"command":"wait","name":"BACKUP"}  -> {"ok":true,"medium":MEDIUM}  as soon as it is visible
 *   {"command":"monitor"}               -> {"ok":true}, then for every event
 *                                          {"time":"2026-01-31T12:00:00.123Z","event":EVENT,"medium":MEDIUM}
 *   {"command":"eject","name":"BACKUP","force":false}
 *                                       -> {"ok":true,"medium":MEDIUM} once it is safe to pull
 *   failure                             -> {"ok":false,"error":"one line for
 * people","errno":"EBUSY"}
 *
 * EVENT: appeared, mounted, idle, ejected, removed, failed.
 * MEDIUM: name (null if not shown), shown, state, reason, fstype, label, uuid, device, vendor,
 * model, bus, size_bytes, used_bytes (null while not mounted), driver, options, read_only,
 * passthrough. Texts from the disk are replaced by valid UTF-8 where they are not.
 *
 * Anybody may list, wait and monitor; eject is for root and the user that runs the daemon
 * (SO_PEERCRED). Slow readers are dropped, never waited for.
 */
#pragma once

#include "base/loop.h"

#define CONTROL_SOCKET_DEFAULT "/run/hotplugfs/control.sock"
