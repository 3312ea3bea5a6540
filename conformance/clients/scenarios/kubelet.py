"""Pods through containerd's Kubernetes interface, as a kubelet makes them."""

import json
import os

import program
from scenario import IMAGE, SLEEP, V2, has, has_not, same, scenario

POD, CONTAINER, NODE, TARGET = range(4)


class Pod:
    """A pod sandbox and what is in it."""

    def __init__(self, c, handler=None, **linux):
        if os.environ.get("RT_CLIENTS_SYSTEMD"):
            linux.setdefault("cgroup_parent", "kubepods.slice")  # a kubelet always names one; containerd's own is no slice
        self.c, self.name = c, c.fresh()
        self.config = {"metadata": {"name": self.name, "uid": self.name, "namespace": "default"}, "hostname": self.name,
                       "log_directory": f"{c.dir}/{self.name}", "linux": linux}
        if linux.get("security_context", {}).get("namespace_options", {}).get("network") == NODE:
            del self.config["hostname"]
        handler = handler or (c.client.handler if c.runtime == "rt" else c.runtime)
        self.id = self.call("RunPodSandbox", config=self.config, runtime_handler=handler).pod_sandbox_id
        c.afterwards(self.remove)

    def call(self, verb, **request):
        """A verb of the interface."""
        return self.c.client.call(verb, request)

    def remove(self):
        """Stops and removes, with all its containers."""
        self.call("StopPodSandbox", pod_sandbox_id=self.id)
        self.call("RemovePodSandbox", pod_sandbox_id=self.id)

    def create(self, script=SLEEP, resources=None, security=None, command=None, **more):
        """A container that is not yet started."""
        name = self.c.fresh()
        security = {"namespace_options": {"pid": CONTAINER}, **(security or {})}
        config = {"metadata": {"name": name}, "image": {"image": IMAGE}, "command": command or ["sh", "-c", script],
                  "log_path": f"{name}.log", "linux": {"resources": resources or {}, "security_context": security}, **more}
        container = self.call("CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config).container_id
        self.logs = f"{self.config['log_directory']}/{name}.log"
        return container

    def start(self, *args, **how):
        """A container that runs."""
        container = self.create(*args, **how)
        self.call("StartContainer", container_id=container)
        return container

    def status(self, container):
        """Its state and all."""
        return self.call("ContainerStatus", container_id=container).status

    def finished(self, container):
        """Waits for its end; returns the exit status."""
        program.until(lambda: self.status(container).state == 2, "the container has ended")
        return self.status(container).exit_code

    def exec(self, container, script, status=0):
        """A command in it, as a probe does it."""
        answer = self.call("ExecSync", container_id=container, cmd=["sh", "-c", script], timeout=20 * int(program.PATIENCE))
        if answer.exit_code != status:
            raise program.Failure(f"status {answer.exit_code}, wanted {status}: {answer.stderr.decode()[-200:]}")
        return answer.stdout.decode().strip()


@scenario("cri")
def a_pod_runs_a_container(c):
    pod = Pod(c)
    container = pod.start("echo hello; exit 7")
    same(pod.finished(container), 7, "exit status")
    with open(pod.logs) as log:
        has(log.read(), "stdout F hello")
    same(pod.call("PodSandboxStatus", pod_sandbox_id=pod.id).status.state, 0, "state of the pod")


@scenario("cri")
def the_handler_of_the_runtime_class(c):
    if c.runtime != "rt":
        raise program.Skip("rt's page")
    pod = Pod(c)
    same(pod.call("PodSandboxStatus", pod_sandbox_id=pod.id).status.runtime_handler, "rt")


@scenario("cri")
def a_command_that_is_not_there_is_told(c):
    pod = Pod(c)
    container = pod.create(command=["no-such-program"])
    try:
        pod.call("StartContainer", container_id=container)
    except program.Failure as failure:
        has(str(failure), "executable file not found in $PATH")
        same(pod.status(container).reason, "StartError", "reason")
    else:
        raise program.Failure("it started")


@scenario("cri")
def probes_run_in_it(c):
    pod = Pod(c)
    container = pod.start()
    same(pod.exec(container, "echo in"), "in")
    pod.exec(container, "exit 5", status=5)


@scenario("cri")
def a_probe_that_hangs_is_ended(c):
    pod = Pod(c)
    container = pod.start()
    try:
        pod.call("ExecSync", container_id=container, cmd=["sleep", "1000"], timeout=1)
    except program.Failure as failure:
        has(str(failure), "timeout")
    else:
        raise program.Failure("it ended")
    program.until(lambda: "sleep 1000" not in pod.exec(container, "ps"), "the probe is gone")


@scenario("cri")
def stop_asks_then_kills(c):
    pod = Pod(c)
    polite = pod.start("trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")
    program.until(lambda: os.path.exists(pod.logs) and "ready" in open(pod.logs).read(), "ready")
    pod.call("StopContainer", container_id=polite, timeout=20)
    same(pod.finished(polite), 9, "status of the polite one")
    deaf = pod.start("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    program.until(lambda: os.path.exists(pod.logs) and "ready" in open(pod.logs).read(), "ready")
    pod.call("StopContainer", container_id=deaf, timeout=1)
    same(pod.finished(deaf), 137, "status of the deaf one")
    pod.call("RemoveContainer", container_id=deaf)


@scenario("cri")
def containers_of_a_pod_share_network_and_name(c):
    pod = Pod(c)
    pod.start("httpd -f -p 80 -h /www")
    other = pod.start()
    program.until(lambda: pod.exec(other, "wget -q -O - http://127.0.0.1/ || true") == "hello", "an answer")
    same(pod.exec(other, "hostname"), pod.name)


@scenario("cri")
def a_pod_has_an_address(c):
    pod = Pod(c)
    address = pod.call("PodSandboxStatus", pod_sandbox_id=pod.id).status.network.ip
    has(pod.exec(pod.start(), "ip -4 addr show eth0"), address)
    has(address, "10.85.")


@scenario("cri")
def containers_of_a_pod_share_processes(c):
    pod = Pod(c, security_context={"namespace_options": {"pid": POD}})
    pod.start("sleep 1313 & wait", security={"namespace_options": {"pid": POD}})
    other = pod.start(security={"namespace_options": {"pid": POD}})
    program.until(lambda: "sleep 1313" in pod.exec(other, "ps"), "the other's processes")


@scenario("cri")
def a_debugger_sees_its_target(c):
    pod = Pod(c)
    target = pod.start("sleep 1414 & wait")
    debugger = pod.start(security={"namespace_options": {"pid": TARGET, "target_id": target}})
    program.until(lambda: "sleep 1414" in pod.exec(debugger, "ps"), "the target's processes")


@scenario("cri")
def the_hosts_namespaces(c):
    namespaces = {"namespace_options": {"network": NODE, "pid": NODE, "ipc": NODE}}
    pod = Pod(c, security_context=namespaces)
    container = pod.start(security=namespaces)
    for kind in ("net", "pid", "ipc"):
        same(pod.exec(container, f"readlink /proc/self/ns/{kind}"), os.readlink(f"/proc/self/ns/{kind}"))
    pod.call("StopContainer", container_id=container, timeout=1)


def files(v1, v2):
    """A limit as seen inside."""
    return f"cat /sys/fs/cgroup/{v2 if V2 else v1}"


@scenario("cri")
def limits_are_set_and_updated(c):
    pod = Pod(c)
    container = pod.start(resources={"memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000, "cpu_period": 100000, "cpu_shares": 512})
    memory = files("memory/memory.limit_in_bytes", "memory.max")
    same(pod.exec(container, memory), str(64 << 20))
    pod.call("UpdateContainerResources", container_id=container, linux={"memory_limit_in_bytes": 128 << 20, "cpu_quota": 20000, "cpu_period": 100000})
    same(pod.exec(container, memory), str(128 << 20))
    same(pod.exec(container, files("cpu/cpu.cfs_quota_us", "cpu.max")).split()[0], "20000")
    same(pod.exec(container, "echo x >/dev/null && echo fine"), "fine")  # devices, which the update sends along as "deny all"


@scenario("cri")
def a_pod_below_a_parent_cgroup(c):
    pod = Pod(c) if os.environ.get("RT_CLIENTS_SYSTEMD") else Pod(c, cgroup_parent=f"/kubepods/{c.name}")
    container = pod.start(security={"namespace_options": {"pid": NODE}})
    pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and container in read(f"/proc/{pid}/cgroup")]
    has(read(f"/proc/{pids[0]}/cgroup"), "kubepods")


def read(path):
    """A file of a process that may be gone."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


@scenario("cri")
def statistics_are_counted(c):
    pod = Pod(c)
    container = pod.start()
    program.until(lambda: pod.call("ContainerStats", container_id=container).stats.memory.working_set_bytes.value, "memory in use")


@scenario("cri")
def users_and_groups(c):
    pod = Pod(c)
    container = pod.start(security={"run_as_user": {"value": 7}, "run_as_group": {"value": 8}, "supplemental_groups": [50, 60]})
    same(pod.exec(container, "id -u; id -g; id -G"), "7\n8\n8 50 60")


@scenario("cri")
def a_hardened_container(c):
    pod = Pod(c)
    container = pod.start(security={"readonly_rootfs": True, "no_new_privs": True, "capabilities": {"drop_capabilities": ["ALL"]},
                                    "seccomp": {"profile_type": 0}, "run_as_user": {"value": 1000}})
    text = pod.exec(container, "cat /proc/self/status; touch /x 2>/dev/null || echo no")
    for part in ("CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "\nno"):
        has(text, part)


@scenario("cri")
def masked_and_read_only_paths(c):
    pod = Pod(c)
    container = pod.start(security={"masked_paths": ["/proc/timer_list", "/www"], "readonly_paths": ["/data"]})
    same(pod.exec(container, "ls /www; head -c 1 /proc/timer_list; touch /data/x 2>/dev/null || echo no"), "no")


@scenario("cri")
def a_seccomp_profile_of_the_node(c):
    from scenarios.rights import DENY_MKDIR
    pod = Pod(c)
    container = pod.start(security={"seccomp": {"profile_type": 2, "localhost_ref": c.file("profile.json", DENY_MKDIR)}})
    has(pod.exec(container, "mkdir /x 2>&1 || true"), "No space left")


@scenario("cri")
def sysctls_of_the_pod(c):
    pod = Pod(c, sysctls={"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shm_rmid_forced": "1"})
    same(pod.exec(pod.start(), "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"), "77\n1")


@scenario("cri")
def mounts_and_devices(c):
    c.file("v/in", "x")
    pod = Pod(c)
    devices = [{"container_path": "/dev/given", "host_path": "/dev/fuse", "permissions": "rw"}] if os.path.exists("/dev/fuse") else []
    container = pod.start(mounts=[{"container_path": "/v", "host_path": f"{c.dir}/v", "readonly": True},
                                  {"container_path": "/w", "host_path": f"{c.dir}/v", "propagation": 1}], devices=devices)
    same(pod.exec(container, "cat /v/in; touch /v/y 2>/dev/null || echo no; touch /w/z && echo yes"), "xno\nyes")
    if devices:
        same(pod.exec(container, ": </dev/given && echo open"), "open")


@scenario("cri")
def environment_and_directory(c):
    pod = Pod(c)
    container = pod.start("echo $A; pwd; sleep 1000", envs=[{"key": "A", "value": "b"}], working_dir="/new/dir")
    program.until(lambda: "/new/dir" in read(pod.logs), "the directory in the logs")
    has(read(pod.logs), "stdout F b")


@scenario("cri")
def the_kill_for_want_of_memory_is_told(c):
    pod = Pod(c)
    container = pod.start("head -c 200m /dev/zero | tail; exit 9", resources={"memory_limit_in_bytes": 20 << 20})
    pod.finished(container)
    program.until(lambda: pod.status(container).reason == "OOMKilled", "reason OOMKilled")


@scenario("cri")
def a_user_namespace_for_the_pod(c):
    maps = [{"host_id": 200000, "container_id": 0, "length": 65536}]
    namespaces = {"network": POD, "pid": CONTAINER, "userns_options": {"mode": POD, "uids": maps, "gids": maps}}
    from containerd import major
    if major() < 2:
        raise program.Skip("this containerd ignores it")
    pod = Pod(c, security_context={"namespace_options": namespaces})
    container = pod.start(security={"namespace_options": namespaces})
    same(pod.exec(container, "cat /proc/self/uid_map").split(), ["0", "200000", "65536"])


@scenario("cri")
def privileged(c):
    from scenarios.exec import lacks_resource
    pod = Pod(c, security_context={"privileged": True})
    try:
        same(pod.exec(pod.start(security={"privileged": True}), "test -c /dev/kmsg && mount -t tmpfs t /tmp && echo yes"), "yes")
    except program.Failure as failure:
        lacks_resource(failure)
        raise


@scenario("cri")
def an_unknown_handler_is_an_error(c):
    try:
        Pod(c, handler="no-such-runtime")
    except program.Failure as failure:
        has(str(failure), "no-such-runtime")
    else:
        raise program.Failure("it ran")


@scenario("cri")
def nothing_remains_of_a_pod(c):
    pod = Pod(c)
    container = pod.start()
    pod.remove()
    has_not(read("/proc/self/mountinfo"), container)
    has_not(json.dumps(os.listdir("/run/containerd/io.containerd.runtime.v2.task/k8s.io")), pod.id)
