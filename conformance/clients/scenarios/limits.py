"""What a container may use, and what it is told about that."""

import os

import program
from scenario import IMAGE, SLEEP, V2, has, same, scenario


def limit(c, name, v1, v2):
    """A limit of the container's cgroup, as the kernel has it."""
    pid = c.inspect(name, ".State.Pid")
    controller = v1.split("/")[0]
    with open(f"/proc/{pid}/cgroup") as lines:
        for line in lines:
            _, controllers, path = line.strip().split(":", 2)
            if V2 and not controllers or not V2 and controller in controllers.split(","):
                where = f"/sys/fs/cgroup{path}/{v2}" if V2 else f"/sys/fs/cgroup/{controller}{path}/{v1.split('/')[1]}"
                with open(where) as file:
                    return file.read().strip()
    raise program.Failure(f"no cgroup of {controller}")


@scenario("podman", "docker")
def memory_is_limited(c):
    name = c.start("--memory", "64m", "--memory-swap", "64m")
    same(limit(c, name, "memory/memory.limit_in_bytes", "memory.max"), str(64 << 20))


@scenario("podman", "docker")
def memory_reservation_is_set(c):
    name = c.start("--memory-reservation", "32m")
    same(limit(c, name, "memory/memory.soft_limit_in_bytes", "memory.low"), str(32 << 20))


@scenario("podman", "docker")
def too_much_memory_is_death(c):
    c.run("head -c 200m /dev/zero | tail", "--memory", "20m", "--memory-swap", "20m", status=None)


@scenario("podman", "docker")
def cpus_are_limited(c):
    name = c.start("--cpus", "0.5")
    if V2:
        same(limit(c, name, "cpu/", "cpu.max"), "50000 100000")
    else:
        same(limit(c, name, "cpu/cpu.cfs_quota_us", ""), "50000")


@scenario("podman", "docker")
def cpu_shares_are_set(c):
    name = c.start("--cpu-shares", "512")
    value = limit(c, name, "cpu/cpu.shares", "cpu.weight")
    if value not in (("20", "59") if V2 else ("512",)):  # two ways to convert are in use
        raise program.Failure(f"weight {value}")


@scenario("podman", "docker")
def a_cpu_set_is_kept(c):
    same(c.run("grep Cpus_allowed_list /proc/self/status", "--cpuset-cpus", "0").split()[1], "0")


@scenario("podman", "docker")
def processes_are_counted(c):
    name = c.start("--pids-limit", "40")
    same(limit(c, name, "pids/pids.max", "pids.max"), "40")
    has(c.exec(name, "i=0; while [ $i -lt 60 ]; do sleep 1 & i=$((i+1)); done 2>&1; true", status="any") +
        c.outcome("exec", name, "true", status="any").err + "fork", "fork")


@scenario("podman", "docker")
def no_pids_limit_is_none(c):
    name = c.start("--pids-limit", "-1")
    same(limit(c, name, "pids/pids.max", "pids.max"), "max")


@scenario("podman", "docker")
def block_devices_are_throttled(c):
    device = next((f"/dev/{name}" for name in os.listdir("/sys/block") if name.startswith(("vd", "nvme", "sd"))
                   and os.path.exists(f"/dev/{name}")), None)
    if not device:
        raise program.Skip("no disk here")
    name = c.start("--device-read-bps", f"{device}:1mb")
    has(limit(c, name, "blkio/blkio.throttle.read_bps_device", "io.max"), "1048576")


@scenario("podman", "docker")
def update_changes_memory(c):
    name = c.start("--memory", "64m", "--memory-swap", "64m")
    c.cli("update", "--memory", "128m", "--memory-swap", "128m", name)
    same(limit(c, name, "memory/memory.limit_in_bytes", "memory.max"), str(128 << 20))
    c.cli("update", "--memory", "48m", "--memory-swap", "48m", name)
    same(limit(c, name, "memory/memory.limit_in_bytes", "memory.max"), str(48 << 20))


@scenario("podman", "docker")
def update_changes_cpus(c):
    name = c.start()
    c.cli("update", "--cpus", "0.25", name)
    same(limit(c, name, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0], "25000")


@scenario("podman", "docker")
def update_of_processors_and_shares(c):
    if os.cpu_count() < 2:
        raise program.Skip("one processor")
    name = c.start("--cpuset-cpus", "0,1")
    c.cli("update", "--cpuset-cpus", "1", "--cpu-shares", "256", name)
    same(limit(c, name, "cpuset/cpuset.cpus", "cpuset.cpus"), "1")


@scenario("docker")
def update_changes_the_pids_limit(c):
    name = c.start("--memory", "64m")
    c.cli("update", "--pids-limit", "33", name)
    same(limit(c, name, "pids/pids.max", "pids.max"), "33")
    same(limit(c, name, "memory/memory.limit_in_bytes", "memory.max"), str(64 << 20), "memory")


@scenario("podman", "docker")
def ulimits_are_set(c):
    same(c.run("ulimit -n; ulimit -Hn; ulimit -c", "--ulimit", "nofile=1000:2000", "--ulimit", "core=0", "--ulimit", "nproc=4096:4096"), "1000\n2000\n0")


@scenario("podman", "docker")
def an_oom_score_is_kept(c):
    same(c.run("cat /proc/self/oom_score_adj", "--oom-score-adj", "321"), "321")


@scenario("podman", "docker")
def a_cgroup_parent_is_one(c):
    parent = f"{c.name}.slice" if os.environ.get("RT_CLIENTS_SYSTEMD") else f"/{c.name}"
    name = c.start("--cgroup-parent", parent)
    with open(f"/proc/{c.inspect(name, '.State.Pid')}/cgroup") as file:
        has(file.read(), f"/{c.name}")


@scenario("podman", "docker")
def its_own_cgroup_namespace_starts_at_the_root(c):
    lines = c.run("cat /proc/self/cgroup", "--cgroupns", "private").splitlines()
    same({line.split(":", 2)[2] for line in lines if V2 or not line.startswith("0:")}, {"/"}, "paths")


@scenario("podman", "docker")
def the_hosts_cgroup_namespace_shows_the_path(c):
    name, words = c.options(["--cgroupns", "host"])
    has(c.cli("run", "--rm", *words, IMAGE, "cat", "/proc/self/cgroup"), "libpod" if c.client.name == "podman" else "docker")


@scenario("podman", "docker")
def limits_can_be_read_inside(c):
    file = "/sys/fs/cgroup/memory.max" if V2 else "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    same(c.run(f"cat {file}", "--memory", "32m"), str(32 << 20))


@scenario("podman", "docker")
def shared_memory_has_a_size(c):
    has(c.run("df -k /dev/shm", "--shm-size", "16m"), " 16384 ")


@scenario("podman", "docker", network=True)
def sysctls_are_set(c):
    same(c.run("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax",
               "--sysctl", "net.ipv4.ip_unprivileged_port_start=77", "--sysctl", "kernel.msgmax=9000"), "77\n9000")


@scenario("podman")
def a_sysctl_of_the_host_is_refused(c):
    c.run("true", "--network", "host", "--sysctl", "net.ipv4.ip_forward=1", status=None)


@scenario("docker")
def the_kill_for_want_of_memory_is_told(c):
    name = c.start("--memory", "20m", "--memory-swap", "20m", script="head -c 200m /dev/zero | tail; exit 9")
    c.cli("wait", name)
    same(c.inspect(name, ".State.OOMKilled"), "true", "OOMKilled")
