"""Volumes, tmpfs, read-only roots, devices: what a container sees of files."""

import os

import program
from scenario import IMAGE, has, same, scenario


@scenario("podman", "docker")
def a_directory_of_the_host_is_shared(c):
    c.file("v/in", "from the host")
    same(c.run("cat /v/in; echo back >/v/out", "-v", f"{c.dir}/v:/v"), "from the host")
    with open(f"{c.dir}/v/out") as file:
        same(file.read(), "back\n")


@scenario("podman", "docker")
def a_read_only_volume_is_not_written(c):
    c.file("v/in", "x")
    c.run("touch /v/out", "-v", f"{c.dir}/v:/v:ro", status=None)


@scenario("podman", "docker")
def a_single_file_is_mounted(c):
    same(c.run("cat /etc/motd", "-v", f"{c.file('motd', 'hello')}:/etc/motd:ro"), "hello")


@scenario("podman", "docker")
def the_long_spelling_of_a_mount(c):
    c.file("v/in", "x")
    same(c.run("cat /v/in; touch /v/y 2>/dev/null || echo no", "--mount", f"type=bind,source={c.dir}/v,target=/v,readonly"), "xno")


@scenario("podman", "docker")
def a_named_volume_keeps_and_takes_the_images_files(c):
    c.afterwards(c.cli, "volume", "rm", "-f", c.name)
    same(c.run("ls /data; echo kept >/data/new", "-v", f"{c.name}:/data"), "of-the-image")
    same(c.run("cat /data/new", "-v", f"{c.name}:/data"), "kept")


@scenario("podman", "docker")
def volumes_of_another_container(c):
    c.file("v/in", "x")
    name = c.start("-v", f"{c.dir}/v:/v")
    same(c.run("cat /v/in", "--volumes-from", name), "x")


@scenario("podman", "docker")
def mounts_of_the_host_appear_in_a_slave(c):
    os.mkdir(f"{c.dir}/v")
    program.run(["mount", "-t", "tmpfs", "v", f"{c.dir}/v"])
    c.afterwards(program.run, ["umount", "-R", "-l", f"{c.dir}/v"])
    program.run(["mount", "--make-shared", f"{c.dir}/v"])
    name = c.start("-v", f"{c.dir}/v:/v:rslave")
    os.mkdir(f"{c.dir}/v/late")
    program.run(["mount", "-t", "tmpfs", "late", f"{c.dir}/v/late"])
    c.file("v/late/file", "x")
    same(c.exec(name, "cat /v/late/file"), "x")


@scenario("podman", "docker")
def a_tmpfs_has_size_and_mode(c):
    text = c.run("mount | grep ' /scratch '; stat -c %a /scratch; touch /scratch/x", "--tmpfs", "/scratch:size=1m,mode=700")
    has(text, "size=1024k")
    has(text, "\n700")


@scenario("podman", "docker")
def a_read_only_root_is(c):
    same(c.run("touch /x 2>/dev/null || echo no; touch /tmp/x && echo yes", "--read-only", "--tmpfs", "/tmp"), "no\nyes")


@scenario("podman", "docker")
def many_mounts(c):
    words = [word for i in range(40) for word in ("-v", f"{c.file(f'f{i}', str(i))}:/many/{i}:ro")]
    same(c.run("cat /many/* | wc -c", *words), "70")


@scenario("podman", "docker")
def a_mount_over_a_link_stays_inside(c):
    c.file("v/in", "x")
    name = c.start(script="mkdir /real; ln -s /real /link")
    c.cli("wait", name)
    c.cli("commit", name, f"localhost/{c.name}:1")
    c.afterwards(c.cli, "rmi", "-f", f"localhost/{c.name}:1")
    _, words = c.options(["-v", f"{c.dir}/v:/link"])
    same(c.cli("run", "--rm", *words, f"localhost/{c.name}:1", "cat", "/real/in"), "x")


@scenario("podman", "docker")
def a_missing_mount_source_is_an_error(c):
    c.run("true", "--mount", "type=bind,source=/no/such,target=/v", status=None)


@scenario("podman", "docker")
def the_devices_that_all_have(c):
    same(c.run("for d in null zero full random urandom tty ptmx; do test -c /dev/$d || echo no $d; done; "
               "echo x >/dev/null; ls -l /dev/fd /dev/stdin | wc -l; head -c 3 /dev/zero | wc -c"), "2\n3")


@scenario("podman", "docker")
def a_device_of_the_host_is_given(c):
    device = "/dev/fuse" if os.path.exists("/dev/fuse") else "/dev/net/tun"
    if not os.path.exists(device):
        raise program.Skip("no device to give")
    same(c.run("test -c /dev/given && : </dev/given && echo open", "--device", f"{device}:/dev/given"), "open")


@scenario("podman", "docker")
def other_devices_are_refused(c):
    same(c.run("mknod /tmp/mem c 1 1 && cat /tmp/mem 2>&1 | head -c 100 >/dev/null; (: </tmp/mem) 2>/dev/null || echo no"), "no")


@scenario("podman", "docker")
def a_device_rule_allows(c):
    # /dev/kmsg: not among the devices that all have.
    same(c.run("mknod /tmp/kmsg c 1 11; (: </tmp/kmsg) 2>/dev/null && echo open || echo no",
               "--device-cgroup-rule", "c 1:11 rwm", "--cap-add", "SYSLOG", "--cap-add", "MKNOD"), "open")


@scenario("podman", "docker")
def secret_files_are_masked(c):
    same(c.run("for f in /proc/keys /proc/timer_list /proc/sched_debug /proc/kcore; do test -e $f && head -c 1 $f; done; "
               "ls /proc/scsi /sys/firmware 2>/dev/null | grep -v :; true"), "")


@scenario("podman", "docker")
def kernel_settings_are_read_only(c):
    same(c.run("for f in /proc/sysrq-trigger /proc/sys/kernel/domainname /sys/kernel/profiling; do "
               "if [ -e $f ] && (echo x >$f) 2>/dev/null; then echo $f; fi; done"), "")


@scenario("docker")
def the_working_directory_is_made(c):
    same(c.run("pwd", "-w", "/not/there/yet"), "/not/there/yet")


@scenario("podman", "docker", network=True)
def hosts_and_names_are_written(c):
    text = c.run("cat /etc/hosts /etc/resolv.conf; hostname", "--hostname", "myself", "--add-host", "other:10.1.2.3",
                 "--dns", "10.9.8.7")
    for part in ("10.1.2.3\tother", "nameserver 10.9.8.7", "myself"):
        has(text, part)


@scenario("podman")
def an_overlay_volume_leaves_the_source_alone(c):
    c.file("v/in", "x")
    same(c.run("cat /v/in; touch /v/new && ls /v", "-v", f"{c.dir}/v:/v:O"), "xin\nnew")
    same(os.listdir(f"{c.dir}/v"), ["in"], "the source")


@scenario("podman")
def a_root_filesystem_without_an_image(c):
    program.run(["sh", "-c", f"mkdir {c.dir}/root && podman export {c.create()} | tar -C {c.dir}/root -x"])
    _, words = c.options([])
    same(c.cli("run", "--rm", *words, "--rootfs", f"{c.dir}/root", "cat", "/data/of-the-image"), "here")


@scenario("podman")
def an_image_is_mounted_in(c):
    same(c.run("cat /other/data/of-the-image", "--mount", f"type=image,source={IMAGE},target=/other"), "here")


@scenario("podman")
def a_secret_is_a_file(c):
    c.cli("secret", "create", c.name, c.file("s", "psst"))
    c.afterwards(c.cli, "secret", "rm", c.name)
    same(c.run(f"cat /run/secrets/{c.name}", "--secret", c.name), "psst")
