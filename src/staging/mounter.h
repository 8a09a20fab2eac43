/* Mounting one device. Internal to staging/. */
#pragma once

#include "staging/request.h"

/* As worker_run(), for STAGING_MOUNT. */
void mounter_run(const struct staging_request *request, int dev_fd, struct staging_result *result);
