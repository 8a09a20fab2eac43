/* What the two halves of the gate share: gate.c lets requests in, gate_life.c opens and closes it.
 */
#pragma once

struct list;
struct medium;

/* Lets in what waits, as far as there is room, each on a thread of its own. Not under the lock. */
void gate_start_waiting(struct medium *medium);

/* Takes all out that waits to be handled, but not what ends something. Under the lock. */
void gate_empty(struct medium *medium, struct list *ret_waiting);

/* Answers them with err. Not under the lock. */
void gate_refuse_all(struct list *waiting, int err);
