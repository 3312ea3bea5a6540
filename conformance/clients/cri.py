"""What a kubelet does: pods and containers through containerd's Kubernetes interface. Requests are plain dictionaries."""

import grpc
from google.protobuf import json_format

import messages
import pages
import program
from containerd import Containerd

SOCKET = "unix:///run/containerd/containerd.sock"


class Cri(Containerd):
    """The same daemon, another language. The handlers are named as in the page."""

    name = "cri"

    def start(self, runtimes, image):
        if program.run(["ctr", "version"], status="any").status:
            super().start(runtimes, image)  # else the client `containerd` has started it
        handler = next(text for _, text in pages.blocks("kubernetes.md") if "kind: RuntimeClass" in text)
        self.handler = handler.split("\nhandler: ")[1].split()[0]
        endpoint = next(text for _, text in pages.blocks("kubernetes.md") if "runtime-endpoint" in text)
        if SOCKET not in endpoint:
            raise SystemExit("docs/callers/kubernetes.md names another socket")
        self.classes = messages.classes()
        self.channel = grpc.insecure_channel(SOCKET)
        program.until(self.ready, "containerd's Kubernetes interface answers", limit=60)

    def ready(self):
        """Is the interface there?"""
        try:
            return self.call("Version", {})
        except program.Failure:
            return None

    def stop(self):
        self.channel.close()
        super().stop()

    def call(self, verb, request):
        """Calls a verb; the answer is an object with the fields of the table."""
        answer = self.classes[f"{verb}Response"]
        call = self.channel.unary_unary(f"/{messages.PACKAGE}.RuntimeService/{verb}",
                                        request_serializer=lambda message: message.SerializeToString(),
                                        response_deserializer=answer.FromString)
        try:
            return call(json_format.ParseDict(request, self.classes[f"{verb}Request"]()), timeout=program.LIMIT)
        except grpc.RpcError as error:
            raise program.Failure(f"{verb}: {error.details()}") from None
