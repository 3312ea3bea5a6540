// The floor: the least work a kernel has to do for `run` of a default bundle on cgroup v1, hard-coded. The same
// namespaces, mounts, cgroups, masks, capabilities and limits; no JSON, no state, no checks, no C library. A runtime
// can come near this, not below it, except by doing work side by side.
//
//   floor ROOTFS PAYLOAD HIERARCHY...     (each the mount point of one cgroup v1 hierarchy)
#include "nolibc.h"

#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/sockios.h>

#define SIGCHLD 17
#define MNT_DETACH 2
#define WALL 0x40000000
#define LENGTH 256

static const char *rootfs, *payload;
static char **hierarchies;
static int hierarchy_count;
static char cgroup_name[32];
static char child_stack[65536] __attribute__((aligned(64)));

static word length(const char *text) {
    word n = 0;
    while (text[n]) n++;
    return n;
}

static char *append(char *at, const char *text) {
    while (*text) *at++ = *text++;
    *at = 0;
    return at;
}

static char *append_number(char *at, word number) {
    char digits[24];
    int n = 0;
    do digits[n++] = (char)('0' + number % 10);
    while (number /= 10);
    while (n) *at++ = digits[--n];
    *at = 0;
    return at;
}

static long checked(int line, long result) {
    if (result >= 0 || result < -4095) return result;
    char text[64], *at = append_number(append(text, "floor: line "), line);
    at = append(append_number(append(at, ": errno "), -result), "\n");
    call(write, 2, text, at - text);
    call(exit_group, 99);
    return 0;
}
#define must(...) checked(__LINE__, __VA_ARGS__)

static int ends_with(const char *text, const char *end) {
    word n = length(text), m = length(end);
    if (m > n) return 0;
    for (word i = 0; i < m; i++)
        if (text[n - m + i] != end[i]) return 0;
    return 1;
}

// Path of our cgroup in a hierarchy, or of a file in it.
static const char *cgroup_path(char *into, const char *hierarchy, const char *file) {
    char *at = append(append(append(into, hierarchy), "/"), cgroup_name);
    if (file) append(append(at, "/"), file);
    return into;
}

static void write_file(const char *path, const char *text) {
    int fd = must(call(openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC));
    must(call(write, fd, text, length(text)));
    call(close, fd);
}

// A new cpuset takes no task before it has processors and memory nodes.
static void copy_file(const char *from, const char *to) {
    char text[LENGTH];
    int fd = must(call(openat, AT_FDCWD, from, O_RDONLY | O_CLOEXEC));
    long n = must(call(read, fd, text, sizeof text - 1));
    call(close, fd);
    text[n] = 0;
    write_file(to, text);
}

static void fill_cpuset(const char *hierarchy) {
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    char from[LENGTH], to[LENGTH];
    for (int i = 0; i < 2; i++) {
        append(append(append(from, hierarchy), "/"), files[i]);
        copy_file(from, cgroup_path(to, hierarchy, files[i]));
    }
}

static void limit_devices(const char *hierarchy) {
    static const char *const allowed[] = {"c *:* m",   "b *:* m",   "c 1:3 rwm", "c 1:8 rwm",   "c 1:7 rwm",
                                          "c 5:0 rwm", "c 1:5 rwm", "c 1:9 rwm", "c 136:* rwm", "c 5:2 rwm"};
    char path[LENGTH];
    write_file(cgroup_path(path, hierarchy, "devices.deny"), "a");
    int fd = must(call(openat, AT_FDCWD, cgroup_path(path, hierarchy, "devices.allow"), O_WRONLY | O_CLOEXEC));
    for (int i = 0; i < 10; i++) must(call(write, fd, allowed[i], length(allowed[i])));
    call(close, fd);
}

static void make_cgroups(void) {
    char path[LENGTH];
    for (int i = 0; i < hierarchy_count; i++) {
        must(call(mkdirat, AT_FDCWD, cgroup_path(path, hierarchies[i], 0), 0755));
        if (ends_with(hierarchies[i], "/cpuset")) fill_cpuset(hierarchies[i]);
        if (ends_with(hierarchies[i], "/devices")) limit_devices(hierarchies[i]);
    }
}

// A thread that writes "0" to `tasks` moves itself, and the kernel need not wait for an RCU grace period.
static void join_cgroups(void) {
    char path[LENGTH];
    for (int i = 0; i < hierarchy_count; i++) write_file(cgroup_path(path, hierarchies[i], "tasks"), "0");
}

static void loopback_up(void) {
    struct {
        char name[16];
        short flags; // IFF_UP | IFF_RUNNING
        char rest[22];
    } request = {.name = "lo", .flags = 0x41};
    int fd = must(call(socket, 2, 2 | O_CLOEXEC, 0));
    must(call(ioctl, fd, SIOCSIFFLAGS, &request));
    call(close, fd);
}

static void mount_at(const char *source, const char *target, const char *type, word flags, const char *data) {
    must(call(mount, source, target, type, flags, data));
}

static void make_devices(int dev) {
    static const struct {
        const char *name;
        unsigned device;
    } nodes[] = {{"null", 0x103}, {"zero", 0x105}, {"full", 0x107}, {"tty", 0x500}, {"random", 0x108}, {"urandom", 0x109}};
    static const char *const links[][2] = {{"/proc/self/fd", "fd"},
                                           {"/proc/self/fd/0", "stdin"},
                                           {"/proc/self/fd/1", "stdout"},
                                           {"/proc/self/fd/2", "stderr"},
                                           {"pts/ptmx", "ptmx"}};
    call(umask, 0);
    for (int i = 0; i < 6; i++) must(call(mknodat, dev, nodes[i].name, 0020666, nodes[i].device));
    for (int i = 0; i < 5; i++) must(call(symlinkat, links[i][0], dev, links[i][1]));
    call(umask, 022);
}

static void mount_dev(void) {
    mount_at("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    int dev = must(call(openat, AT_FDCWD, "dev", O_PATH | O_CLOEXEC | O_DIRECTORY));
    must(call(mkdirat, dev, "pts", 0755));
    must(call(mkdirat, dev, "shm", 0755));
    must(call(mkdirat, dev, "mqueue", 0755));
    const word quiet = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    mount_at("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount_at("shm", "dev/shm", "tmpfs", quiet, "mode=1777,size=65536k");
    mount_at("mqueue", "dev/mqueue", "mqueue", quiet, 0);
    make_devices(dev);
}

static void mount_cgroups(void) {
    char path[LENGTH];
    mount_at("cgroup", "sys/fs/cgroup", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "size=1024k,mode=755");
    int tree = must(call(openat, AT_FDCWD, "sys/fs/cgroup", O_PATH | O_CLOEXEC | O_DIRECTORY));
    for (int i = 0; i < hierarchy_count; i++) {
        const char *name = hierarchies[i] + length(hierarchies[i]);
        while (name[-1] != '/') name--;
        must(call(mkdirat, tree, name, 0755));
        int source = must(call(open_tree, AT_FDCWD, cgroup_path(path, hierarchies[i], 0), OPEN_TREE_CLONE | O_CLOEXEC));
        must(call(move_mount, source, "", tree, name, MOVE_MOUNT_F_EMPTY_PATH));
        call(close, source);
    }
    struct mount_attr closed = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
    must(call(mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &closed, sizeof closed));
}

static void mount_all(void) {
    must(call(mount, 0, "/", 0, MS_REC | MS_SLAVE, 0));
    must(call(mount, rootfs, rootfs, 0, MS_BIND | MS_REC, 0));
    must(call(chdir, rootfs));
    mount_at("proc", "proc", "proc", 0, 0);
    mount_dev();
    mount_at("sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, 0);
    mount_cgroups();
    must(call(pivot_root, ".", "."));
    must(call(umount2, ".", MNT_DETACH));
    must(call(chdir, "/"));
}

// Hides two files and two directories of the default list and makes four directories read-only.
static void hide_paths(void) {
    static const char *const files[] = {"keys", "timer_list"}, *const readonly[] = {"bus", "fs", "irq", "sys"};
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
    int proc = must(call(openat, AT_FDCWD, "/proc", O_PATH | O_CLOEXEC | O_DIRECTORY)), tree;
    for (int i = 0; i < 2; i++) {
        tree = must(call(open_tree, AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | O_CLOEXEC));
        must(call(move_mount, tree, "", proc, files[i], MOVE_MOUNT_F_EMPTY_PATH));
        call(close, tree);
    }
    mount_at("tmpfs", "/proc/acpi", "tmpfs", MS_RDONLY, "size=0k");
    tree = must(call(open_tree, proc, "acpi", OPEN_TREE_CLONE | O_CLOEXEC));
    must(call(move_mount, tree, "", AT_FDCWD, "/sys/firmware", MOVE_MOUNT_F_EMPTY_PATH));
    call(close, tree);
    for (int i = 0; i < 4; i++) {
        tree = must(call(open_tree, proc, readonly[i], OPEN_TREE_CLONE | O_CLOEXEC));
        must(call(mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes));
        must(call(move_mount, tree, "", proc, readonly[i], MOVE_MOUNT_F_EMPTY_PATH));
        call(close, tree);
    }
    must(call(mount_setattr, AT_FDCWD, "/", 0, &attributes, sizeof attributes));
}

static void give_up_privileges(void) {
    static const int kept[] = {CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE};
    unsigned mask = 0;
    for (int i = 0; i < 3; i++) mask |= 1u << kept[i];
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        if (cap >= 32 || !(mask >> cap & 1)) must(call(prctl, PR_CAPBSET_DROP, cap, 0, 0, 0));
    word files[] = {1024, 1024};
    must(call(prlimit64, 0, RLIMIT_NOFILE, files, 0));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{mask, mask, mask}, {0, 0, 0}};
    must(call(capset, &header, data));
    for (int i = 0; i < 3; i++) must(call(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0));
    must(call(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    must(call(close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC));
}

__attribute__((used)) void child(void) {
    must(call(setsid));
    must(call(sethostname, "floor", 5));
    join_cgroups();
    loopback_up();
    mount_all();
    hide_paths();
    give_up_privileges();
    const char *arguments[] = {payload, 0}, *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", 0};
    must(call(execve, payload, arguments, environment));
}

// clone3 onto a stack of its own: the child shares our memory until it executes the payload.
static long give_birth(void) {
    static struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_VM | CLONE_VFORK,
        .exit_signal = SIGCHLD,
        .stack_size = sizeof child_stack,
    };
    args.stack = (word)child_stack;
    long result;
    __asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\txor %%ebp, %%ebp\n\tcall child\n\tud2\n1:"
                     : "=a"(result)
                     : "a"(__NR_clone3), "D"(&args), "S"(sizeof args)
                     : "rcx", "r11", "memory");
    return result;
}

__attribute__((used)) void floor_main(word *stack) {
    char **arguments = (char **)(stack + 1), path[LENGTH];
    if (stack[0] < 3) call(exit_group, 2);
    rootfs = arguments[1];
    payload = arguments[2];
    hierarchies = arguments + 3;
    hierarchy_count = (int)stack[0] - 3;
    append_number(append(cgroup_name, "floor-"), call(getpid));
    make_cgroups();
    int status = 0;
    long pid = must(give_birth());
    must(call(wait4, pid, &status, WALL, 0));
    for (int i = 0; i < hierarchy_count; i++) must(call(unlinkat, AT_FDCWD, cgroup_path(path, hierarchies[i], 0), 0x200));
    call(exit_group, status ? 1 : 0);
}

START(floor_main);
