"""Who a container is and what it may: users, capabilities, seccomp, namespaces shared with others."""

import json
import os

import program
from scenario import IMAGE, has, has_not, same, scenario

DENY_MKDIR = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                         "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]})


def status(c, field, *options):
    """A line of /proc/self/status in a container."""
    return c.run(f"grep '^{field}:' /proc/self/status", *options).split(":")[1].strip()


@scenario("podman", "docker")
def a_user_by_number(c):
    same(c.run("id -u; id -g", "--user", "7:8"), "7\n8")


@scenario("podman", "docker")
def a_user_by_name_has_its_groups(c):
    same(c.run("id -u; id -g; id -G; echo $HOME", "--user", "alice"), "1000\n1000\n1000 50\n/home")


@scenario("podman", "docker")
def further_groups(c):
    same(c.run("id -G", "--user", "7:8", "--group-add", "50", "--group-add", "60"), "8 50 60")


@scenario("podman", "docker")
def a_user_that_is_not_there_is_an_error(c):
    c.run("true", "--user", "nobody-here", status=None)


@scenario("podman", "docker")
def a_user_writes_to_its_terminal(c):
    _, words = c.options(["-it", "--user", "alice"])
    terminal = c.terminal("run", "--rm", *words, IMAGE, "sh", "-c", "echo mine >/dev/stdout; echo too >/dev/stderr")
    terminal.wait_for("too")
    terminal.wait()


@scenario("podman", "docker")
def an_entrypoint_and_environment(c):
    _, words = c.options(["--entrypoint", "echo", "-e", "A=b"])
    same(c.cli("run", "--rm", *words, IMAGE, "by", "entrypoint"), "by entrypoint")
    same(c.run("echo $A $PATH", "-e", "A=b"), "b /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


@scenario("podman", "docker")
def no_capabilities(c):
    same(status(c, "CapEff", "--cap-drop", "all"), "0" * 16)


@scenario("podman", "docker")
def one_capability_more(c):
    mask = int(status(c, "CapEff", "--cap-add", "NET_ADMIN"), 16)
    same(bool(mask & 1 << 12), True, "NET_ADMIN")


@scenario("podman", "docker")
def one_capability_less(c):
    same(c.run("chown 7 /tmp 2>/dev/null || echo no", "--cap-drop", "CHOWN"), "no")


@scenario("podman", "docker")
def a_user_has_no_capabilities(c):
    same(status(c, "CapEff", "--user", "1000"), "0" * 16)


@scenario("podman")
def a_capability_for_a_user_is_ambient(c):
    same(status(c, "CapAmb", "--user", "1000", "--cap-add", "NET_RAW"), f"{1 << 13:016x}")


@scenario("podman", "docker")
def privileged(c):
    from scenarios.exec import lacks_resource
    try:
        same(c.run("mount -t tmpfs t /tmp && test -c /dev/kmsg && echo yes", "--privileged"), "yes")
    except program.Failure as failure:
        if "perm" in str(failure):
            lacks_resource(failure)
        raise


@scenario("podman", "docker")
def no_new_privileges(c):
    same(status(c, "NoNewPrivs", "--security-opt", "no-new-privileges"), "1")
    same(status(c, "NoNewPrivs"), "0")


@scenario("podman", "docker")
def seccomp_by_default(c):
    same(status(c, "Seccomp"), "2")
    if c.client.name == "docker":  # podman lets everybody make user namespaces
        c.run("unshare -U true", status=None)


@scenario("podman", "docker")
def seccomp_unconfined(c):
    same(status(c, "Seccomp", "--security-opt", "seccomp=unconfined"), "0")


@scenario("podman", "docker")
def a_seccomp_profile_of_ones_own(c):
    profile = c.file("profile.json", DENY_MKDIR)
    has(c.run("mkdir /x 2>&1; true", "--security-opt", f"seccomp={profile}"), "No space left")


@scenario("podman", "docker")
def a_seccomp_profile_counts_for_exec(c):
    name = c.start("--security-opt", f"seccomp={c.file('profile.json', DENY_MKDIR)}")
    has(c.exec(name, "mkdir /x 2>&1; true"), "No space left")


@scenario("podman", "docker")
def a_broken_seccomp_profile_is_an_error(c):
    profile = c.file("profile.json", DENY_MKDIR.replace("SCMP_ACT_ERRNO", "SCMP_ACT_NONSENSE"))
    c.run("true", "--security-opt", f"seccomp={profile}", status=None)


@scenario("podman", "docker")
def its_own_processes_only(c):
    same(c.run("echo $$; ls /proc | grep -c '^[0-9]'").split("\n")[0], "1")


@scenario("podman", "docker")
def processes_of_the_host(c):
    name = c.start("--pid", "host")
    pid = c.inspect(name, ".State.Pid")
    has(c.exec(name, f"cat /proc/{pid}/cmdline"), "sleep")
    c.cli("stop", "-t", "1", name)


@scenario("podman", "docker")
def processes_of_another_container(c):
    name = c.start(script="sleep 1111 & wait")
    program.until(lambda: "sleep 1111" in c.run("ps", "--pid", f"container:{name}"), "the other's processes")


@scenario("podman", "docker")
def ipc_of_another_container(c):
    name = c.start(*(["--ipc", "shareable"] if c.client.name == "docker" else []), script="echo x >/dev/shm/x; trap 'exit 0' TERM; while :; do sleep 0.1; done")
    program.until(lambda: c.exec(name, "cat /dev/shm/x", status="any") == "x", "the file")
    same(c.run("cat /dev/shm/x", "--ipc", f"container:{name}"), "x")


@scenario("podman", "docker")
def ipc_of_the_host(c):
    same(c.run("readlink /proc/self/ns/ipc", "--ipc", "host"), program.os.readlink("/proc/self/ns/ipc"))


@scenario("podman", "docker")
def names_of_the_host(c):
    same(c.run("hostname", "--uts", "host"), program.os.uname().nodename)


@scenario("podman")
def a_umask(c):
    same(c.run("umask; touch /tmp/x; stat -c %a /tmp/x", "--umask", "0077"), "0077\n600")


@scenario("podman")
def paths_unmasked(c):
    same(c.run("mount | grep -c ' /proc/'; true", "--security-opt", "unmask=ALL"), "0")


@scenario("docker")
def system_paths_unconfined(c):
    same(c.run("mount | grep -c ' /proc/'; true", "--security-opt", "systempaths=unconfined"), "0")


@scenario("podman")
def a_user_namespace_maps_ids(c):
    text = c.run("cat /proc/self/uid_map; id -u; touch /x && ls -ln /x", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    same(text.split()[:3], ["0", "100000", "65536"])
    has(text, "\n0\n")


@scenario("podman")
def a_user_namespace_by_itself(c):
    text = c.run("cat /proc/self/uid_map", "--userns", "auto:size=4096")
    same(text.split()[0::2][:2], ["0", "4096"])


@scenario("podman")
def a_user_namespace_and_exec(c):
    name = c.start("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    same(c.exec(name, "id -u; cat /proc/self/uid_map").split()[:3], ["0", "0", "100000"])
    pid = c.inspect(name, ".State.Pid")
    same(program.os.stat(f"/proc/{pid}").st_uid, 100000, "user outside")


@scenario("podman", network=True)
def a_user_namespace_with_devices_and_network(c):
    has(c.run("ip a; echo x >/dev/null && ls -ln /dev/null; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
              "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "--sysctl", "net.ipv4.ip_unprivileged_port_start=80"), "\n80")


@scenario("podman")
def a_volume_with_mapped_ids(c):
    c.file("v/file", "x")
    program.os.chmod(c.dir, 0o755)
    maps = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"]
    same(c.run("stat -c %u /v/file; touch /v/new && stat -c %u /v/new", *maps, "-v", f"{c.dir}/v:/v:idmap"), "0\n0")
    same(program.os.stat(f"{c.dir}/v/new").st_uid, 0, "owner outside")


@scenario("podman")
def a_user_is_kept_in_passwd(c):
    has(c.run("cat /etc/passwd", "--user", "4321"), "4321")
    has_not(c.run("cat /etc/passwd"), "4321")


@scenario("podman")
def a_personality_of_its_own(c):
    if os.uname().release.endswith("-uml"):
        raise program.Skip("user-mode Linux calls itself the same for every personality")
    has(c.run("uname -m", "--personality", "LINUX32"), "i686")
