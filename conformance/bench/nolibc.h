// The few words of C that the bench's own programs need without a C library: its start-up alone costs more than some
// of what is measured. x86_64 only.
#pragma once
#if !defined(__x86_64__)
#error "only x86_64 so far"
#endif
#include <asm/unistd.h>

typedef unsigned long word;

static inline long call6(long number, word a, word b, word c, word d, word e, word f) {
    long result;
    register word r10 __asm__("r10") = d;
    register word r8 __asm__("r8") = e;
    register word r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

// call(name, up to six arguments)
#define call(name, ...) call_(__NR_##name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define call_(n, a, b, c, d, e, f, ...) call6(n, (word)(a), (word)(b), (word)(c), (word)(d), (word)(e), (word)(f))

// The kernel starts a program with the argument count on the stack's top, the arguments above it.
#define START(main)                                                                                                    \
    __asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall " #main "\n\thlt\n")

// The compiler may call these on its own.
void *memset(void *to, int byte, word size) {
    for (char *at = to; size--;) *at++ = (char)byte;
    return to;
}
void *memcpy(void *to, const void *from, word size) {
    const char *source = from;
    for (char *at = to; size--;) *at++ = *source++;
    return to;
}
