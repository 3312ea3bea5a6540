# Sourced by build, run and test: where this version of the VM lives, which depends on what made it.
# An image and its saved states fit only the scripts that made them, so their hash names the directory.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=${RT_VM_SUITE:-sid}
key=$(cd "$here" && tar --sort=name --mtime=@0 --owner=0 --group=0 --mode=u+rwX,go+rX,go-w -cf - build run guest | sha256sum | cut -c1-12)
vm=${RT_VM_DIR:-/var/tmp/rt-vm-$suite-$key}
