"""Networks: the manager makes them, the runtime must leave room for that at the right moments."""

import urllib.request

import program
from scenario import has, has_not, same, scenario

SERVE = "trap 'exit 0' TERM; httpd -f -p 80 -h /www & while :; do sleep 0.1; done"


def fetch(port):
    """What is served on a port of this host."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def port(c):
    """A port that no other case uses."""
    return 20000 + int(c.name[1:])


def network(c):
    """A network of one's own."""
    c.cli("network", "create", c.name)
    c.afterwards(lambda: c.cli("network", "rm", c.name, status="any"))
    return c.name


@scenario("podman", "docker", network=True)
def a_container_has_an_address(c):
    has(c.run("ip -4 addr show eth0; ip route"), "default via")


@scenario("podman", "docker", network=True)
def no_network_is_none(c):
    text = c.run("ip -o link", "--network", "none")
    has(text, "lo:")
    has_not(text, "eth0")


@scenario("podman", "docker", network=True)
def the_hosts_network(c):
    same(c.run("readlink /proc/self/ns/net", "--network", "host"), program.os.readlink("/proc/self/ns/net"))


@scenario("podman", "docker", network=True)
def a_port_is_published(c):
    c.start("-p", f"{port(c)}:80", script=SERVE)
    program.until(lambda: fetch(port(c)) == "hello\n", "an answer on the port")


@scenario("podman", "docker", network=True)
def containers_reach_each_other(c):
    name = c.start(script=SERVE)
    address = c.inspect(name, ".NetworkSettings.IPAddress")
    program.until(lambda: c.run(f"wget -q -O - http://{address}/", status="any") == "hello", "an answer")


@scenario("podman", "docker", network=True)
def names_are_found_in_a_network(c):
    name = c.start("--network", network(c), script=SERVE)
    text = program.until(lambda: c.run(f"nslookup {name}", "--network", c.name, status="any"), "an answer")
    address = c.inspect(name, f'(index .NetworkSettings.Networks "{c.name}").IPAddress')
    program.until(lambda: address in c.run(f"nslookup {name} 2>&1", "--network", c.name, status="any"), f"{address}, not {text}")


@scenario("podman", "docker", network=True)
def the_network_of_another_container(c):
    name = c.start(script=SERVE)
    program.until(lambda: c.run("wget -q -O - http://127.0.0.1/", "--network", f"container:{name}", status="any") == "hello", "an answer")


@scenario("podman", "docker", network=True)
def a_running_one_is_connected(c):
    name = c.start("--network", network(c))
    other = f"{c.name}-b"
    c.cli("network", "create", other)
    c.afterwards(lambda: c.cli("network", "rm", "-f", other, status="any"))
    c.afterwards(c.remove, name)
    c.cli("network", "connect", other, name)
    has(c.exec(name, "ip -o link"), "eth1")
    c.cli("network", "disconnect", other, name)
    has_not(c.exec(name, "ip -o link"), "eth1")


@scenario("podman", "docker", network=True)
def an_address_of_choice(c):
    subnet = f"10.{100 + int(c.name[1:]) % 100}.{int(c.name[1:]) // 100}"
    c.cli("network", "create", "--subnet", f"{subnet}.0/24", c.name)
    c.afterwards(lambda: c.cli("network", "rm", c.name, status="any"))
    has(c.run("ip -4 addr", "--network", c.name, "--ip", f"{subnet}.77"), f"{subnet}.77/24")


@scenario("podman", "docker", network=True)
def a_restart_has_a_network_again(c):
    name = c.start("-p", f"{port(c)}:80", script=SERVE)
    program.until(lambda: fetch(port(c)) == "hello\n", "an answer on the port")
    c.cli("restart", "-t", "5", name)
    program.until(lambda: fetch(port(c)) == "hello\n", "an answer after the restart")
