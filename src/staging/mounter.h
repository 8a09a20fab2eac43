/* Mounting one device. Internal to staging/. */
#pragma once

#include "staging/worker.h"

/* As worker_run(), for STAGING_MOUNT. */
void mounter_run(const struct staging_request *request, const struct worker_tools *tools,
		 struct staging_result *result);
