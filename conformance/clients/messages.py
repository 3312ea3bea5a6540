"""The messages of the Kubernetes container runtime interface (CRI v1) that the scenarios send and read: what the fields are
called, their numbers, their types. Debian has no crictl; a table and the protobuf library do."""

from google.protobuf import descriptor_pb2, descriptor_pool

try:
    from google.protobuf.message_factory import GetMessageClass as message_class
except ImportError:  # protobuf 3
    from google.protobuf.message_factory import MessageFactory
    message_class = MessageFactory().GetPrototype

# name=number:type; `*` is repeated, `map` is string to string. Enumerations are numbers.
TABLE = """
IDMapping                     host_id=1:uint32 container_id=2:uint32 length=3:uint32
UserNamespace                 mode=1:int32 uids=2:*IDMapping gids=3:*IDMapping
NamespaceOption               network=1:int32 pid=2:int32 ipc=3:int32 target_id=4:string userns_options=5:UserNamespace
Int64Value                    value=1:int64
SecurityProfile               profile_type=1:int32 localhost_ref=2:string
LinuxSandboxSecurityContext   namespace_options=1:NamespaceOption run_as_user=3:Int64Value readonly_rootfs=4:bool privileged=6:bool
LinuxPodSandboxConfig         cgroup_parent=1:string security_context=2:LinuxSandboxSecurityContext sysctls=3:map
PodSandboxMetadata            name=1:string uid=2:string namespace=3:string attempt=4:uint32
DNSConfig                     servers=1:*string searches=2:*string
PortMapping                   protocol=1:int32 container_port=2:int32 host_port=3:int32
PodSandboxConfig              metadata=1:PodSandboxMetadata hostname=2:string log_directory=3:string dns_config=4:DNSConfig port_mappings=5:*PortMapping linux=8:LinuxPodSandboxConfig
RunPodSandboxRequest          config=1:PodSandboxConfig runtime_handler=2:string
RunPodSandboxResponse         pod_sandbox_id=1:string
StopPodSandboxRequest         pod_sandbox_id=1:string
StopPodSandboxResponse
RemovePodSandboxRequest       pod_sandbox_id=1:string
RemovePodSandboxResponse
PodSandboxStatusRequest       pod_sandbox_id=1:string
PodSandboxNetworkStatus       ip=1:string
PodSandboxStatus              id=1:string state=3:int32 network=5:PodSandboxNetworkStatus runtime_handler=9:string
PodSandboxStatusResponse      status=1:PodSandboxStatus
ImageSpec                     image=1:string
KeyValue                      key=1:string value=2:string
LinuxContainerResources       cpu_period=1:int64 cpu_quota=2:int64 cpu_shares=3:int64 memory_limit_in_bytes=4:int64 oom_score_adj=5:int64 cpuset_cpus=6:string
Capability                    add_capabilities=1:*string drop_capabilities=2:*string
LinuxContainerSecurityContext capabilities=1:Capability privileged=2:bool namespace_options=3:NamespaceOption run_as_user=5:Int64Value run_as_username=6:string readonly_rootfs=7:bool supplemental_groups=8:*int64 no_new_privs=11:bool run_as_group=12:Int64Value masked_paths=13:*string readonly_paths=14:*string seccomp=15:SecurityProfile
LinuxContainerConfig          resources=1:LinuxContainerResources security_context=2:LinuxContainerSecurityContext
ContainerMetadata             name=1:string attempt=2:uint32
Device                        container_path=1:string host_path=2:string permissions=3:string
Mount                         container_path=1:string host_path=2:string readonly=3:bool propagation=5:int32
ContainerConfig               metadata=1:ContainerMetadata image=2:ImageSpec command=3:*string args=4:*string working_dir=5:string envs=6:*KeyValue mounts=7:*Mount devices=8:*Device log_path=11:string stdin=12:bool tty=14:bool linux=15:LinuxContainerConfig
CreateContainerRequest        pod_sandbox_id=1:string config=2:ContainerConfig sandbox_config=3:PodSandboxConfig
CreateContainerResponse       container_id=1:string
StartContainerRequest         container_id=1:string
StartContainerResponse
StopContainerRequest          container_id=1:string timeout=2:int64
StopContainerResponse
RemoveContainerRequest        container_id=1:string
RemoveContainerResponse
ContainerStatusRequest        container_id=1:string
ContainerStatus               id=1:string state=3:int32 exit_code=7:int32 reason=10:string message=11:string
ContainerStatusResponse       status=1:ContainerStatus
UpdateContainerResourcesRequest container_id=1:string linux=2:LinuxContainerResources
UpdateContainerResourcesResponse
ExecSyncRequest               container_id=1:string cmd=2:*string timeout=3:int64
ExecSyncResponse              stdout=1:bytes stderr=2:bytes exit_code=3:int32
UInt64Value                   value=1:uint64
MemoryUsage                   timestamp=1:int64 working_set_bytes=2:UInt64Value
ContainerStats                memory=3:MemoryUsage
ContainerStatsRequest         container_id=1:string
ContainerStatsResponse        stats=1:ContainerStats
VersionRequest                version=1:string
VersionResponse               version=1:string runtime_name=2:string
"""
PACKAGE = "runtime.v1"
Field = descriptor_pb2.FieldDescriptorProto
SCALARS = {"string": Field.TYPE_STRING, "bytes": Field.TYPE_BYTES, "bool": Field.TYPE_BOOL, "int32": Field.TYPE_INT32,
           "int64": Field.TYPE_INT64, "uint32": Field.TYPE_UINT32, "uint64": Field.TYPE_UINT64}


def add_field(message, word):
    """One `name=number:type`."""
    name, number, kind = word.replace("=", ":").split(":")
    field = message.field.add(name=name, number=int(number), label=Field.LABEL_OPTIONAL)
    if kind.startswith("*"):
        field.label, kind = Field.LABEL_REPEATED, kind[1:]
    if kind == "map":
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        add_field(entry, "key=1:string")
        add_field(entry, "value=2:string")
        field.label = Field.LABEL_REPEATED
        kind = f"{message.name}.{entry.name}"
    if kind in SCALARS:
        field.type = SCALARS[kind]
    else:
        field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


def classes():
    """The classes by name."""
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package=PACKAGE, syntax="proto3")
    for line in TABLE.strip().splitlines():
        name, *words = line.split()
        message = file.message_type.add(name=name)
        for word in words:
            add_field(message, word)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {m.name: message_class(pool.FindMessageTypeByName(f"{PACKAGE}.{m.name}")) for m in file.message_type}
