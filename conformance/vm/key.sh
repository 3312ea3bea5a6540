# Sourced by what builds and starts the machines: where this version of them lives, which depends on what made it, and Debian's mirror.
# An image and its saved states fit only the scripts that made them, so their hash names the directory; so it is with user-mode Linux.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=${RT_VM_SUITE:-sid}
machine=${RT_VM_MACHINE:-qemu} # or uml
hash() { (cd "$here" && tar --sort=name --mtime=@0 --owner=0 --group=0 --mode=u+rwX,go+rX,go-w -cf - "$@" | sha256sum | cut -c1-12); }
key=$(hash build run guest)
vm=${RT_VM_DIR:-/var/tmp/rt-vm-$suite-$key}
uml=${RT_UML_DIR:-/var/tmp/rt-vm-uml-$suite-$(hash uml/build uml/kernel.config)}

# mirror: the one that this machine's apt uses, whatever its release, or $RT_VM_MIRROR.
mirror() {
  local m=${RT_VM_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)}
  [ -n "$m" ] || { echo "vm: apt knows no Debian mirror: run apt-get update, or set RT_VM_MIRROR" >&2; return 1; }
  echo "$m"
}

# ours DIR: makes a directory that nobody else may prepare for us, since root executes what is in it, and is the only one to build there.
ours() {
  mkdir -p -m 700 "$1"
  [ -O "$1" ] && [ ! -L "$1" ] || { echo "vm: $1 is not ours" >&2; return 1; }
  exec 9>"$1/lock"
  flock -n 9 || { echo "vm: waiting for another build in $1"; flock 9; }
}
