// The smallest workload: ends at once, or with any argument waits for a signal. No C library.
#include "nolibc.h"

__attribute__((used)) void payload(word *stack) {
    if (stack[0] > 1)
        for (;;) call(ppoll, 0, 0, 0, 0);
    call(exit_group, 0);
}

START(payload);
